/* SPDX-License-Identifier: Apache-2.0 */
/* Where it begins. What can be done is the table in verbs.c. */
#include <fcntl.h>
#include <unistd.h>

#include "verbs.h"

/* A standard stream that is closed would become a socket or an event queue's, and logs would be written into that. */
static void standard_streams_open(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) {
    }
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    standard_streams_open();
    return verbs_run(argc, argv);
}
