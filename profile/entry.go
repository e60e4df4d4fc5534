package profile

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseEntry reads an entry the way a person writes it on a command line. What has an
// asterisk is taken as it stands; other paths, names and addresses are brought into
// the form profiles have them in, so that what an event showed can be pasted.
//
//	executable    /usr/bin/git
//	start         /usr/sbin/nginx -> /bin/sh         (parent, program)
//	port          tcp/8080
//	destination   tcp/5432 name:db.shop.svc          (or workload:…, unix:/run/x, 10.0.3.0/24, loopback)
//	client        tcp/80 10.0.0.0/8
//	name          *.example.com
//	write, read   /data/**
//	user          101
//	capability, syscall, behaviour: the name
func ParseEntry(c Category, s string) (Entry, error) {
	e := Entry{Category: c}
	s = strings.TrimSpace(s)
	switch c {
	case Executable, Read:
		e.Value = general(s, func(b []byte) []byte { return appendPath(b, s, c == Read && temporary(s)) })
	case Write:
		e.Value = general(s, func(b []byte) []byte { return appendPath(b, s, true) })
	case Start:
		parent, program, ok := strings.Cut(s, "->")
		if !ok {
			return e, fmt.Errorf("start %q: want PARENT -> PROGRAM", clean(s))
		}
		parent, program = strings.TrimSpace(parent), strings.TrimSpace(program)
		e.Parent = general(parent, func(b []byte) []byte { return appendPath(b, parent, false) })
		e.Value = general(program, func(b []byte) []byte { return appendPath(b, program, false) })
	case Name:
		e.Value = general(s, func(b []byte) []byte { return appendName(b, s) })
	case Port, Destination, Client:
		where, peer, _ := strings.Cut(s, " ")
		proto, port, hasPort := strings.Cut(where, "/")
		if proto != "other" && protocolOf(proto) == protoOther {
			return e, fmt.Errorf("%s %q: want a protocol in front, tcp/80 or unix", c, clean(s))
		}
		e.Protocol = protocolOf(proto).String()
		if hasPort {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return e, fmt.Errorf("%s %q: port: want 0 to 65535", c, clean(s))
			}
			e.Port = portOf(uint16(n))
		}
		if c == Port {
			break
		}
		var err error
		if e.Value, err = parsePeer(strings.TrimSpace(peer)); err != nil {
			return e, fmt.Errorf("%s %q: %w", c, clean(s), err)
		}
	case User:
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return e, fmt.Errorf("user %q: want a number", clean(s))
		}
		id := uint32(n)
		e.ID = &id
	default:
		e.Value = s
	}
	_, err := e.key()
	return e, err
}

// general keeps what a person made general, and the names of what has no path.
func general(s string, form func([]byte) []byte) string {
	if s == "" || strings.IndexByte(s, '*') >= 0 || s == memoryProgram || s == outsideProgram {
		return s
	}
	return string(form(nil))
}

func parsePeer(s string) (string, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "loopback", s == "multicast", s == "unknown":
		return s, nil
	case kind == "workload" && rest != "":
		return s, nil
	case kind == "name" && rest != "":
		return "name:" + general(rest, func(b []byte) []byte { return appendName(b, rest) }), nil
	case kind == "unix" && strings.HasPrefix(rest, "/"):
		return "unix:" + general(rest, func(b []byte) []byte { return appendPath(b, rest, true) }), nil
	}
	if p, ok := parseNet(s); ok {
		if p.IsSingleIP() {
			return string(appendPeer(nil, "", "", p.Addr())), nil
		}
		// Only the widths of the tree are looked up; another one would never match.
		if validLevel(p) {
			return p.Masked().String(), nil
		}
		return "", errors.New("networks are /0, /8, /16 or /24 of IPv4, /0, /32, /48 or /64 of IPv6: give a wider one or several")
	}
	return "", errors.New("want workload:…, name:…, unix:/…, an address, a network, loopback or multicast")
}

func validLevel(p netip.Prefix) bool {
	levels := levels4[:]
	if p.Addr().Is6() {
		levels = levels6[:]
	}
	for _, l := range levels {
		if l == p.Bits() {
			return true
		}
	}
	return false
}

// String is the form ParseEntry reads, behind the category.
func (e Entry) String() string {
	switch e.Category {
	case Start:
		return e.Parent + " -> " + e.Value
	case Port:
		return e.Protocol + "/" + strconv.FormatUint(uint64(e.Port), 10)
	case Destination, Client:
		return e.Protocol + "/" + strconv.FormatUint(uint64(e.Port), 10) + " " + e.Value
	case User:
		if e.ID == nil {
			return ""
		}
		return strconv.FormatUint(uint64(*e.ID), 10)
	}
	return e.Value
}
