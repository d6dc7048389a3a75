/* SPDX-License-Identifier: MIT */
/* RPC in TLS: all of test_rpc.c that needs no raw bytes, over a connection where both sides show a certificate; and those. */
#define RPC_TLS
#include "test_rpc.c"
