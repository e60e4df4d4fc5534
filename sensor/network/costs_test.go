package network

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
)

// spend runs one piece of work n times in this process and returns the processor time
// of one, in nanoseconds. On loopback the receiver's interrupts run in it, too. What the
// work needs is made the first time and kept in ready.
func spend(ready map[string]func() error, work string, n int) (float64, error) {
	var before, after unix.Timespec
	run := ready[work]
	if run == nil {
		var err error
		run, err = map[string]func() (func() error, error){"connect": workConnect, "udp": workUDP, "tcp": workTCP, "null": workNull, "associate": workAssociate, "listen": workListen}[work]()
		if err != nil {
			return 0, err
		}
		ready[work] = run
	}
	// This thread's own clock: what the language's other threads do is not the work.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before); err != nil {
		return 0, err
	}
	for range n {
		if err := run(); err != nil {
			return 0, err
		}
	}
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after); err != nil {
		return 0, err
	}
	return float64(after.Nano()-before.Nano()) / float64(n), nil
}

// workAssociate: a datagram socket gets a peer, which sends nothing.
func workAssociate() (func() error, error) {
	fd, addr, err := local(unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	return func() error { return unix.Connect(fd, addr) }, nil
}

// workListen: a socket listens and is closed: two changes of its state.
func workListen() (func() error, error) {
	return func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Listen(fd, 1); err != nil {
			return err
		}
		return unix.Close(fd)
	}, nil
}

func workNull() (func() error, error) {
	return func() error { unix.Getppid(); return nil }, nil
}

func local(kind int) (int, *unix.SockaddrInet4, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, nil, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, err
	}
	return fd, sa.(*unix.SockaddrInet4), nil
}

// workConnect: a connection is made, accepted and closed by both.
func workConnect() (func() error, error) {
	l, addr, err := local(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(l, 16); err != nil {
		return nil, err
	}
	return func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, addr); err != nil {
			return err
		}
		c, _, err := unix.Accept(l)
		if err != nil {
			return err
		}
		unix.Close(fd)
		return unix.Close(c)
	}, nil
}

// workUDP: a datagram goes and comes back.
func workUDP() (func() error, error) {
	a, to, err := local(unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	b, back, err := local(unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 64)
	return func() error {
		if err := unix.Sendto(b, buf, 0, to); err != nil {
			return err
		}
		if _, _, err := unix.Recvfrom(a, buf, 0); err != nil {
			return err
		}
		if err := unix.Sendto(a, buf, 0, back); err != nil {
			return err
		}
		_, _, err := unix.Recvfrom(b, buf, 0)
		return err
	}, nil
}

// workTCP: 64 KiB over a connection.
func workTCP() (func() error, error) {
	l, addr, err := local(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(l, 1); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, addr); err != nil {
		return nil, err
	}
	c, _, err := unix.Accept(l)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	return func() error {
		if _, err := unix.Write(fd, buf); err != nil {
			return err
		}
		for got := 0; got < len(buf); {
			n, err := unix.Read(c, buf)
			if err != nil {
				return err
			}
			got += n
		}
		return nil
	}, nil
}

// TestCosts prints what the sensor costs a workload: the same work with and without it,
// interleaved, medians. It asserts nothing by itself, as machines differ; run it with
// BOLLWERK_COSTS=rounds.
func TestCosts(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("BOLLWERK_COSTS"))
	if rounds == 0 {
		t.Skip("set BOLLWERK_COSTS=20 to measure")
	}
	works := []struct {
		name string
		n    int
	}{{"connect", 3000}, {"udp", 30000}, {"tcp", 3000}, {"null", 300000}}
	for _, kind := range []string{"host", "container", "restricted container"} {
		h := startHelper(t, 0)
		if kind != "host" {
			h = contained(t)
			h.ok("spend connect 100")
		}
		without, with := map[string][]float64{}, map[string][]float64{}
		measure := func(into map[string][]float64) {
			for _, w := range works {
				f, err := strconv.ParseFloat(h.ok("spend %s %d", w.name, w.n), 64)
				if err != nil {
					t.Fatal(err)
				}
				into[w.name] = append(into[w.name], f)
			}
		}
		for range rounds {
			measure(without)
			func() {
				w := &watch{t: t, source: New(Config{}), more: make(chan struct{}, 1)}
				s, err := sensor.Open(t.Context(), sensor.Options{}, w.source)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				w.sensor = s
				if kind == "restricted container" {
					if h.join == 0 {
						h.cgroup(s.Kernel())
					}
					if err := s.Apply(&sensor.Policy{Cgroup: h.join, CgroupPath: fmt.Sprintf("/bollwerk-test-%d", h.pid()),
						Enforce: sensor.GuardEgress | sensor.GuardIngress | sensor.GuardMiner,
						Egress:  []sensor.Peer{peer("10.0.0.0/8", 443, "tcp"), peer("192.168.0.0/16", 0, "")},
						Ingress: []sensor.Peer{peer("0.0.0.0/0", 80, "tcp")}}); err != nil {
						t.Fatal(err)
					}
				}
				stop := w.start()
				measure(with)
				stop()
			}()
		}
		for _, w := range works {
			a, b := without[w.name], with[w.name]
			slices.Sort(a)
			slices.Sort(b)
			t.Logf("%-20s %-8s without %8.0f ns, with %8.0f ns: median ratio %.3f, of the fastest %.3f",
				kind, w.name, a[len(a)/2], b[len(b)/2], b[len(b)/2]/a[len(a)/2], b[0]/a[0])
		}
	}
}
