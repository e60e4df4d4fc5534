package bollwerk

import "time"

// Flow is the traffic of one workload with one peer and port, summed up. The
// Connection of its event names the peer; with Outgoing unset Local.Port() is the
// port served and the remote port is 0.
type Flow struct {
	From            time.Time `json:"from"`
	To              time.Time `json:"to"`
	Connections     uint64    `json:"connections"`
	Failed          uint64    `json:"failed,omitempty"` // refused, timed out or denied
	SentBytes       uint64    `json:"sent_bytes"`
	ReceivedBytes   uint64    `json:"received_bytes"`
	SentPackets     uint64    `json:"sent_packets"`
	ReceivedPackets uint64    `json:"received_packets"`
}
