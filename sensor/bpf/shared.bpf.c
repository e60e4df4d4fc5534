//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The shared maps without any program: the sensor makes them once from this object
// and puts them into all the others.
// bpf2go-type: bw_header bw_policy bw_config bw_loss_key bw_builder bw_exec_path
#include "exec_guard.h"

struct bw_header *unused_header __attribute__((unused));
