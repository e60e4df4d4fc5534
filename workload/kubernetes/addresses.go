package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

const mostIPs = 8 // of one object; Kubernetes gives two

// addresses of a pod: none while it has none of its own, or no more.
func (j *podJSON) addresses() (out []netip.Addr) {
	if j.Spec.HostNetwork || j.Status.Phase == "Succeeded" || j.Status.Phase == "Failed" {
		return nil
	}
	for _, ip := range j.Status.IPs {
		out = parseIP(out, ip.IP)
	}
	return out
}

func parseIP(list []netip.Addr, s string) []netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.IsUnspecified() || a.IsLoopback() || a.Zone() != "" || len(list) >= mostIPs {
		return list // "None" of a service without an address
	}
	return append(list, a.Unmap())
}

func (p *pod) located() workload.Located {
	return workload.Located{ID: p.pod.UID, Name: workload.PeerName(&bollwerk.Workload{Pod: &p.pod}), Addresses: p.addresses}
}

// serviceJSON is as much of a v1.Service as is used.
type serviceJSON struct {
	Metadata struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		IPs []string `json:"clusterIPs"`
	} `json:"spec"`
}

func (j *serviceJSON) located() workload.Located {
	l := workload.Located{ID: j.Metadata.UID, Name: workload.ServiceName(j.Metadata.Namespace, j.Metadata.Name)}
	for _, ip := range j.Spec.IPs {
		l.Addresses = parseIP(l.Addresses, ip)
	}
	return l
}

const podsPath, servicesPath = "/api/v1/pods", "/api/v1/services"

// Parts implements workload.AddressSource: pods elsewhere and services, with the API server.
func (s *Source) Parts() []string {
	if s.api == nil {
		return nil
	}
	return []string{podsPath, servicesPath}
}

// Addresses implements workload.AddressSource: the pods of this node as far as they are
// known, and with the API server those of the other nodes, and services.
func (s *Source) Addresses(ctx context.Context, fn func(workload.Located), trouble func(part string, err error)) error {
	if s.kubelet == nil && s.api == nil {
		return workload.ErrAbsent
	}
	s.mu.Lock()
	s.locate = fn
	var known []workload.Located
	for uid, p := range s.byUID {
		if uid != p.alias {
			known = append(known, p.located())
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.locate = nil
		s.mu.Unlock()
	}()
	for _, l := range known {
		fn(l)
	}
	if s.api == nil {
		<-ctx.Done()
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		w := follower[podJSON]{s: s, path: podsPath, fn: fn, trouble: trouble, read: func(j *podJSON) (l workload.Located, version string) {
			if m := &j.Metadata; m.UID != "" && m.Name != "" && m.Namespace != "" {
				l = workload.Located{ID: m.UID, Addresses: j.addresses()}
			}
			if len(l.Addresses) > 0 { // who owns the others may have to be asked for
				p := &pod{pod: bollwerk.Pod{Namespace: j.Metadata.Namespace, Name: j.Metadata.Name, UID: j.Metadata.UID}, addresses: l.Addresses}
				s.own(ctx, p, j)
				l = p.located()
			}
			return l, j.Metadata.ResourceVersion
		}}
		if s.config.Node != "" {
			w.selector = "spec.nodeName!=" + s.config.Node
		}
		w.run(ctx)
	})
	wg.Go(func() {
		w := follower[serviceJSON]{s: s, path: servicesPath, fn: fn, trouble: trouble, read: func(j *serviceJSON) (workload.Located, string) {
			return j.located(), j.Metadata.ResourceVersion
		}}
		w.run(ctx)
	})
	wg.Wait()
	return nil
}

// follower lists and watches the objects of one kind in the whole cluster.
type follower[T any] struct {
	s              *Source
	path, selector string
	fn             func(workload.Located)
	trouble        func(part string, err error)
	read           func(*T) (l workload.Located, version string)

	told map[string]bool // those with addresses
}

const (
	clusterPause = time.Second // before it is asked again; pauses double
	clusterPage  = 500
	mostObjects  = 100_000 // listed
)

func (w *follower[T]) run(ctx context.Context) {
	w.told = map[string]bool{}
	version, pause := "", clusterPause
	for ctx.Err() == nil {
		began := time.Now()
		listed := version == ""
		var err error
		if listed {
			version, err = w.list(ctx)
		} else {
			version, err = w.watch(ctx, version)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause = clusterPause
			w.trouble(w.path, nil)
			if listed || time.Since(began) >= clusterPause {
				continue // a server that ends each watch at once is not asked all the time
			}
		case errors.Is(err, errExpired):
			version = ""
		default:
			version = ""
			w.trouble(w.path, fmt.Errorf("API server: %w", err))
			pause = min(2*pause, time.Minute)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// tell hands on what has addresses, or had.
func (w *follower[T]) tell(l workload.Located) {
	has := len(l.Addresses) > 0
	if l.ID == "" || !has && !w.told[l.ID] {
		return
	}
	if has {
		w.told[l.ID] = true
	} else {
		delete(w.told, l.ID)
	}
	w.fn(l)
}

func (w *follower[T]) query(q url.Values) string {
	if w.selector != "" {
		q.Set("fieldSelector", w.selector)
	}
	return w.path + "?" + q.Encode()
}

// list reads all of them, page by page, and returns the version from which to watch.
func (w *follower[T]) list(ctx context.Context) (string, error) {
	seen := map[string]bool{}
	next := ""
	for range mostObjects / clusterPage {
		q := url.Values{"limit": {fmt.Sprint(clusterPage)}}
		if next != "" {
			q.Set("continue", next)
		}
		resp, err := w.s.api.get(ctx, w.query(q))
		if err != nil {
			return "", err
		}
		meta, err := readList(resp.Body, func(o *T) {
			l, _ := w.read(o)
			if len(l.Addresses) > 0 {
				seen[l.ID] = true
			}
			w.tell(l)
		})
		resp.Body.Close()
		if err != nil {
			return "", fmt.Errorf("%s: list: %w", w.path, err)
		}
		if next = meta.Continue; next == "" {
			for id := range w.told {
				if !seen[id] {
					w.tell(workload.Located{ID: id})
				}
			}
			if meta.ResourceVersion == "" {
				return "", fmt.Errorf("%s: a list without a version", w.path)
			}
			return meta.ResourceVersion, nil
		}
	}
	return "", fmt.Errorf("%s: list: more than %d", w.path, mostObjects)
}

// watch follows the changes from a version on and returns the last one seen.
func (w *follower[T]) watch(ctx context.Context, version string) (string, error) {
	// The server ends a watch itself; one that does not is ended here.
	ctx, cancel := context.WithTimeout(ctx, watchTime+30*time.Second)
	defer cancel()
	resp, err := w.s.api.get(ctx, w.query(url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version}, "timeoutSeconds": {fmt.Sprint(int(watchTime.Seconds()))}}))
	if err != nil {
		return version, err
	}
	defer resp.Body.Close()
	version, err = readWatch(ctx, resp.Body, version, func(kind string, o *T) string {
		l, v := w.read(o)
		if kind == "DELETED" {
			l.Addresses = nil
		}
		if kind != "BOOKMARK" {
			w.tell(l)
		}
		return v
	})
	if err != nil && !errors.Is(err, errExpired) {
		err = fmt.Errorf("%s: watch: %w", w.path, err)
	}
	return version, err
}
