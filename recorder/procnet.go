package recorder

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// procAddress makes "127.0.0.1:80" of "0100007F:0050": the address in words of the
// machine's order, which is little endian wherever the agent runs (proc(5)).
func procAddress(s string) string {
	a, p, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(a)
	port, perr := strconv.ParseUint(p, 16, 16)
	if !ok || err != nil || perr != nil || len(b)%4 != 0 {
		return s
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return s
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)).String()
}

// procState names a TCP state of /proc/net/tcp (include/net/tcp_states.h).
func procState(proto, s string) string {
	if !strings.HasPrefix(proto, "tcp") {
		return ""
	}
	states := [...]string{"", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait", "last-ack", "listen", "closing"}
	if n, err := strconv.ParseUint(s, 16, 8); err == nil && int(n) < len(states) {
		return states[n]
	}
	return s
}
