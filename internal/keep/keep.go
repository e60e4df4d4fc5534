//go:build keep

package keep

import (
	_ "github.com/VictoriaMetrics/metrics"
	_ "github.com/cilium/ebpf"
	_ "github.com/cilium/ebpf/btf"
	_ "github.com/cilium/ebpf/link"
	_ "github.com/cilium/ebpf/perf"
	_ "github.com/cilium/ebpf/ringbuf"
	_ "golang.org/x/net/dns/dnsmessage"
	_ "google.golang.org/grpc"
)
