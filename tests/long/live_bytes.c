/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a gateway with AddressSanitizer: at SIGRTMAX it writes how many bytes are allocated to the file that
 * WEIR_LIVE_BYTES names, where chaos.py reads them. Resident memory tells less: it has what allocators keep.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void);

static volatile uint64_t *shown;

static void show(int signal)
{
    (void)signal;
    *shown = __sanitizer_get_current_allocated_bytes();
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction act;
    const char *path = getenv("WEIR_LIVE_BYTES");
    int fd = path && __sanitizer_get_current_allocated_bytes ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *shown, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return;
    shown = at;
    memset(&act, 0, sizeof act);
    act.sa_handler = show;
    act.sa_flags = SA_RESTART;
    sigaction(SIGRTMAX, &act, NULL);
}
