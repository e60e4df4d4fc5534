package network

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// dnsRecords is the most records of an answer that are looked at.
const dnsRecords = 64

func (s *Source) decodeDNS(h *sensor.Header, raw []byte) *bollwerk.Event {
	r := record[bpf.NetworkBwDnsEvent](raw)
	if r == nil {
		return nil
	}
	// The large record (struct bw_dns_large) differs by the room for the message alone,
	// which stands last.
	message := raw[unsafe.Offsetof(r.Message):]
	message = message[:min(int(r.Kept), len(message))]
	server := netip.AddrPortFrom(address(r.Server), r.Port)
	d := parseDNS(message, r.Answer == 1)
	d.Server = server
	d.Size = int(r.Length)
	d.Truncated = d.Truncated || int(r.Length) > len(message)
	if d.Answer {
		s.names.answer(r.H.Cgroup, r.Netns, d, s.k.Time(h.Time))
	} else {
		s.names.question(r.H.Cgroup, r.Netns, d.Name)
	}
	e := &bollwerk.Event{DNS: d, Source: sourceName(h.Source, server.Addr().Is6()), Connection: &bollwerk.Connection{
		Protocol: "udp", Remote: server, Outgoing: true, NetNS: r.Netns,
	}}
	if r.Tcp == 1 {
		e.Connection.Protocol = "tcp"
	}
	if r.Count > 1 {
		e.Count = r.Count
	}
	return e
}

// Malformed is the type of what was sent to a name server's port and is no DNS.
const Malformed = "malformed"

// parseDNS reads a message as far as it can be read: the first question, and of an
// answer at most 64 records. What cannot be read leaves Truncated set. Source: RFC 1035.
func parseDNS(message []byte, answer bool) *bollwerk.DNS {
	d := &bollwerk.DNS{Answer: answer}
	var p dnsmessage.Parser
	head, err := p.Start(message)
	if err != nil {
		d.Type, d.Truncated = Malformed, true
		return d
	}
	d.ID = head.ID
	if answer {
		d.Code = dnsCode(head.RCode)
	}
	q, err := p.Question()
	if err != nil {
		d.Type, d.Truncated = Malformed, true
		return d
	}
	d.Name, d.Type = dnsName(q.Name), dnsType(q.Type)
	d.Truncated = head.Truncated
	if !answer {
		return d
	}
	if err := p.SkipAllQuestions(); err != nil {
		d.Truncated = true
		return d
	}
	for d.Records < dnsRecords {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return d
		}
		if err == nil {
			err = dnsRecord(d, &p, &h)
		}
		if err != nil {
			d.Truncated = true
			return d
		}
		d.Records++
		if d.TTL == 0 || h.TTL < d.TTL {
			d.TTL = h.TTL
		}
	}
	d.Truncated = true
	return d
}

// dnsRecord reads one record of an answer.
func dnsRecord(d *bollwerk.DNS, p *dnsmessage.Parser, h *dnsmessage.ResourceHeader) error {
	switch h.Type {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		if err == nil {
			d.Addresses = append(d.Addresses, netip.AddrFrom4(r.A))
		}
		return err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		if err == nil {
			d.Addresses = append(d.Addresses, netip.AddrFrom16(r.AAAA).Unmap())
		}
		return err
	case dnsmessage.TypeCNAME:
		r, err := p.CNAMEResource()
		if err == nil {
			d.Aliases = append(d.Aliases, dnsName(r.CNAME))
		}
		return err
	}
	return p.SkipAnswer()
}

func dnsName(n dnsmessage.Name) string {
	return strings.ToLower(strings.TrimSuffix(n.String(), "."))
}

func dnsType(t dnsmessage.Type) string {
	switch t {
	case 1:
		return "A"
	case 2:
		return "NS"
	case 5:
		return "CNAME"
	case 6:
		return "SOA"
	case 10:
		return "NULL"
	case 12:
		return "PTR"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case 28:
		return "AAAA"
	case 33:
		return "SRV"
	case 35:
		return "NAPTR"
	case 43:
		return "DS"
	case 48:
		return "DNSKEY"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	case 252:
		return "AXFR"
	case 255:
		return "ANY"
	case 257:
		return "CAA"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

func dnsCode(c dnsmessage.RCode) string {
	switch c {
	case 0:
		return "NOERROR"
	case 1:
		return "FORMERR"
	case 2:
		return "SERVFAIL"
	case 3:
		return "NXDOMAIN"
	case 4:
		return "NOTIMP"
	case 5:
		return "REFUSED"
	}
	return "RCODE" + strconv.Itoa(int(c))
}
