#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# valgrind.sh ARG...    build/weir under valgrind, which says nothing but what is wrong, and then makes it end with 99
here=$(dirname "$0")
exec valgrind -q --error-exitcode=99 --num-callers=24 --leak-check=full --show-leak-kinds=definite,indirect \
    --errors-for-leak-kinds=definite,indirect --suppressions="$here/valgrind.supp" "$here/../../build/weir" "$@"
