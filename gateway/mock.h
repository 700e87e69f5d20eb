/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOCK_H
#define MOCK_H

/* `weir mock [options]`: a small upstream to try things against. Returns the exit status. Main thread. */
int mock_main(int argc, char **argv);

#endif
