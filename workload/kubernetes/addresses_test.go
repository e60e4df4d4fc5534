package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// cluster is what an API server answers about pods elsewhere and services.
type cluster struct {
	mu      sync.Mutex
	lists   map[string]string // by path
	refused map[string]bool
	events  map[string]chan string
	listed  map[string]int
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c.mu.Lock()
	list, events, refused := c.lists[r.URL.Path], c.events[r.URL.Path], c.refused[r.URL.Path]
	if q.Get("watch") == "" {
		c.listed[r.URL.Path]++
	}
	c.mu.Unlock()
	switch {
	case r.URL.Path == "/api/v1/pods" && q.Get("fieldSelector") != "spec.nodeName!=n1", list == "", refused:
		w.WriteHeader(http.StatusForbidden)
	case q.Get("watch") == "":
		fmt.Fprint(w, list)
	default:
		w.(http.Flusher).Flush()
		for {
			select {
			case e := <-events:
				if e == "" {
					return
				}
				fmt.Fprintln(w, strings.ReplaceAll(e, "\n", ""))
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

func remote(uid, name, more, status string) string {
	return `{"metadata":{"name":"` + name + `","namespace":"shop","uid":"` + uid + `","resourceVersion":"6","labels":{"pod-template-hash":"5d9"},"ownerReferences":[{"kind":"ReplicaSet","name":"cart-5d9","controller":true}]},
"spec":{` + more + `"containers":[]},"status":{` + status + `}}`
}

// TestAddresses: pods of other nodes and services are known by their addresses.
func TestAddresses(t *testing.T) {
	const pod, svc = "/api/v1/pods", "/api/v1/services"
	c := &cluster{lists: map[string]string{
		pod: pods("5", remote("u1", "cart-5d9-a", "", `"phase":"Running","podIPs":[{"ip":"10.244.1.5"},{"ip":"fd00::5"},{"ip":"rubbish"}]`),
			remote("u2", "cart-5d9-b", `"hostNetwork":true,`, `"phase":"Running","podIPs":[{"ip":"192.0.2.9"}]`),
			remote("u3", "cart-5d9-c", "", `"phase":"Succeeded","podIPs":[{"ip":"10.244.1.6"}]`),
			remote("u4", "cart-5d9-d", "", `"phase":"Pending"`)),
		svc: pods("5", `{"metadata":{"name":"cart","namespace":"shop","uid":"s1"},"spec":{"clusterIP":"10.96.3.4","clusterIPs":["10.96.3.4"]}}`,
			`{"metadata":{"name":"none","namespace":"shop","uid":"s2"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}`),
	}, refused: map[string]bool{svc: true}, events: map[string]chan string{pod: make(chan string, 8), svc: make(chan string, 8)}, listed: map[string]int{}}
	address, config := server(t, c.ServeHTTP)
	config.API = address
	s := source(t, config)
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	known, troubles := map[string]string{}, map[string]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.Addresses(ctx, func(l workload.Located) {
			mu.Lock()
			defer mu.Unlock()
			if len(l.Addresses) == 0 {
				delete(known, l.ID)
				return
			}
			known[l.ID] = fmt.Sprint(l.Name, l.Addresses)
		}, func(part string, err error) {
			mu.Lock()
			defer mu.Unlock()
			delete(troubles, part)
			if err != nil {
				troubles[part] = err.Error()
			}
		})
		if err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	if got := s.Parts(); !slices.Equal(got, []string{pod, svc}) {
		t.Errorf("parts %q", got)
	}
	is := func(want map[string]string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprint(known) == fmt.Sprint(want)
		}
	}
	const cart = "pod shop/Deployment/cart"
	// A right that is missing costs what it is for, and is said.
	workloadtest.Eventually(t, "the pods of other nodes", is(map[string]string{"u1": cart + "[10.244.1.5 fd00::5]"}))
	workloadtest.Eventually(t, "the missing right", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(troubles[svc], "list and watch pods and services") && troubles[pod] == ""
	})
	c.mu.Lock()
	c.refused[svc] = false
	c.mu.Unlock()
	workloadtest.Eventually(t, "the service", is(map[string]string{"u1": cart + "[10.244.1.5 fd00::5]", "s1": "service shop/cart[10.96.3.4]"}))
	workloadtest.Eventually(t, "no trouble", func() bool { mu.Lock(); defer mu.Unlock(); return len(troubles) == 0 })

	send := func(path, kind, object string) { c.events[path] <- `{"type":"` + kind + `","object":` + object + `}` }
	send(pod, "MODIFIED", remote("u4", "cart-5d9-d", "", `"phase":"Running","podIPs":[{"ip":"10.244.2.7"}]`))
	send(pod, "DELETED", remote("u1", "cart-5d9-a", "", `"phase":"Running","podIPs":[{"ip":"10.244.1.5"}]`))
	send(svc, "BOOKMARK", `{"kind":"Service","metadata":{"resourceVersion":"9"}}`)
	workloadtest.Eventually(t, "changes", is(map[string]string{"u4": cart + "[10.244.2.7]", "s1": "service shop/cart[10.96.3.4]"}))
	send(pod, "MODIFIED", remote("u4", "cart-5d9-d", "", `"phase":"Failed","podIPs":[{"ip":"10.244.2.7"}]`))
	workloadtest.Eventually(t, "an end", is(map[string]string{"s1": "service shop/cart[10.96.3.4]"}))
	// What went while nobody watched is found by the next list.
	c.mu.Lock()
	c.lists[svc] = pods("12")
	before := c.listed[svc]
	c.mu.Unlock()
	send(svc, "ERROR", `{"kind":"Status","code":410}`)
	workloadtest.Eventually(t, "the next list", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.listed[svc] > before })
	workloadtest.Eventually(t, "the end of a service", is(map[string]string{}))
}

// TestOwnPods: what the kubelet says of this node's pods is told, too.
func TestOwnPods(t *testing.T) {
	address, c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, pods("", remote("u1", "cart-5d9-a", "", `"phase":"Running","podIPs":[{"ip":"10.244.1.5"}]`)))
	})
	c.Kubelet = address
	s := source(t, c)
	if got := s.Parts(); len(got) > 0 {
		t.Errorf("parts %q", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan workload.Located, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Addresses(ctx, func(l workload.Located) { told <- l }, func(part string, err error) { t.Errorf("%s: %v", part, err) })
	}()
	defer func() { cancel(); <-done }()
	for {
		if err := s.fetch(ctx, 0); err != nil { // until somebody listens
			t.Fatal(err)
		}
		select {
		case l := <-told:
			if l.Name != "pod shop/Deployment/cart" || !slices.Equal(l.Addresses, []netip.Addr{netip.MustParseAddr("10.244.1.5")}) {
				t.Errorf("%+v", l)
			}
			s.drop("u1")
			for l := range told {
				if len(l.Addresses) == 0 {
					return
				}
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func FuzzServices(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a","namespace":"b","uid":"c"},"spec":{"clusterIPs":["10.0.0.1","None","fd00::1","1","2","3","4","5","6","7","8","9"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var j serviceJSON
		if json.Unmarshal(b, &j) != nil {
			return
		}
		if l := j.located(); len(l.Addresses) > mostIPs || len(l.Name) > 256 {
			t.Errorf("%+v", l)
		}
	})
}
