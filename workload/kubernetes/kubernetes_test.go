package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

const (
	idApp  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idInit = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	uidA   = "8a3bcdef-0123-4567-89ab-0123456789ab"
)

// cart is a pod of a Deployment as the kubelet and the API server write it.
func cart(version, label string) string {
	return `{"metadata":{"name":"cart-5d9f7c8b6-x2x9p","generateName":"cart-5d9f7c8b6-","namespace":"shop","uid":"` + uidA + `","resourceVersion":"` + version + `",
"creationTimestamp":"2026-01-05T10:00:00Z","labels":{"app":"` + label + `","pod-template-hash":"5d9f7c8b6"},
"annotations":{"kubernetes.io/config.seen":"2026-01-05T10:00:00Z","kubernetes.io/config.source":"api"},
"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"cart-5d9f7c8b6","uid":"u","controller":true,"blockOwnerDeletion":true}],
"managedFields":[{"manager":"kubelet","operation":"Update","fieldsType":"FieldsV1","fieldsV1":{"f:status":{}}}]},
"spec":{"nodeName":"n1","serviceAccountName":"cart","hostNetwork":true,"containers":[{"name":"app","image":"registry.example/cart:1","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{},"securityContext":{"privileged":true}}],
"initContainers":[{"name":"migrate","image":"registry.example/migrate:1"}]},
"status":{"phase":"Running","containerStatuses":[{"name":"app","state":{"running":{"startedAt":"2026-01-05T10:00:02Z"}},"ready":true,"image":"registry.example/cart:1",
"imageID":"registry.example/cart@sha256:` + strings.Repeat("cd", 32) + `","containerID":"containerd://` + idApp + `"}],
"initContainerStatuses":[{"name":"migrate","imageID":"sha256:` + strings.Repeat("ef", 32) + `","containerID":"containerd://` + idInit + `"}]}}`
}

func pods(version string, items ...string) string {
	return `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"` + version + `"},"items":[` + strings.Join(items, ",") + `]}`
}

// server answers as the two do, and refuses without the token.
func server(t *testing.T, handler http.HandlerFunc) (address string, c Config) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	c.CAFile, c.TokenFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	if err := os.WriteFile(c.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.TokenFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Node = "n1"
	return s.URL, c
}

func source(t *testing.T, c Config) *Source {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestKubelet(t *testing.T) {
	var mu sync.Mutex
	body, asked := pods("", cart("", "cart")), 0
	address, c := server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/pods" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		asked++
		fmt.Fprint(w, body)
	})
	c.Kubelet = address
	s := source(t, c)
	workloadtest.Contract(t, s, workload.Ref{ID: idApp, PodUID: uidA}, bollwerk.Container{Name: "app", Image: "registry.example/cart:1",
		Digest: bollwerk.Digest("sha256:" + strings.Repeat("cd", 32)), Ports: []uint16{8080}})
	f, err := s.Local(workload.Ref{ID: idApp, PodUID: uidA})
	if err != nil || f.Pod == nil || f.Pod.OwnerKind != "Deployment" || f.Pod.OwnerName != "cart" || f.Pod.ServiceAccount != "cart" || f.Pod.Labels["app"] != "cart" ||
		f.Pod.Namespace != "shop" || !f.Container.Privileged || !f.Container.HostNetwork || f.Container.HostPID {
		t.Errorf("%+v %+v, %v", f, f.Pod, err)
	}
	// The status of a container comes later than its first process: then its name counts.
	f, err = s.Local(workload.Ref{ID: "new", PodUID: uidA, Pod: &bollwerk.Pod{UID: uidA, Container: "app"}})
	if err != nil || f.Pod.Container != "app" || f.Container.Image != "registry.example/cart:1" {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = s.Local(workload.Ref{ID: "pause", PodUID: uidA, Pod: &bollwerk.Pod{UID: uidA, Sandbox: true}})
	if err != nil || !f.Pod.Sandbox || f.Pod.Container != "POD" || f.Container.Image != "" {
		t.Errorf("%+v, %v", f, err)
	}
	// A bare digest of an image is not taken for that of the manifest.
	if f, err := s.Local(workload.Ref{ID: idInit}); err != nil || f.Container.Digest != "" || f.Pod.Container != "migrate" {
		t.Errorf("%+v, %v", f, err)
	}
	// A pod that ended is forgotten.
	mu.Lock()
	body = pods("", `{"metadata":{"name":"other","namespace":"shop","uid":"u2"}}`)
	before := asked
	mu.Unlock()
	if err := s.fetch(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Local(workload.Ref{ID: idApp, PodUID: uidA}); err == nil {
		t.Errorf("%+v", f)
	}
	// Many questions about unknown containers are one to the kubelet.
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = s.Lookup(context.Background(), workload.Ref{ID: "x", PodUID: "y"}) })
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if asked-before > 4 {
		t.Errorf("the kubelet was asked %d times", asked-before)
	}
}

func TestAPIServer(t *testing.T) {
	var mu sync.Mutex
	events := make(chan string, 8)
	watches, lists := 0, 0
	address, c := server(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.URL.Path == "/api/v1/pods" && q.Get("fieldSelector") != "spec.nodeName=n1":
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/api/v1/pods" && q.Get("watch") == "":
			mu.Lock()
			lists++
			mu.Unlock()
			if q.Get("continue") == "" {
				fmt.Fprint(w, `{"metadata":{"resourceVersion":"5","continue":"more"},"items":[`+cart("4", "cart")+`]}`)
				return
			}
			fmt.Fprint(w, pods("5", `{"metadata":{"name":"etl-29461234-abcde","namespace":"shop","uid":"u3","creationTimestamp":"2026-01-06T10:34:01Z","ownerReferences":[{"kind":"Job","name":"etl-29461234","controller":true}]},"spec":{"containers":[{"name":"etl"}]},"status":{"containerStatuses":[{"name":"etl","containerID":"cri-o://etl1"}]}}`))
		case r.URL.Path == "/api/v1/pods":
			mu.Lock()
			watches++
			mu.Unlock()
			flush := w.(http.Flusher)
			flush.Flush()
			for {
				select {
				case e := <-events:
					if e == "" {
						return
					}
					fmt.Fprintln(w, e)
					flush.Flush()
				case <-r.Context().Done():
					return
				}
			}
		case r.URL.Path == "/apis/batch/v1/namespaces/shop/jobs/etl-29461234":
			fmt.Fprint(w, `{"metadata":{"name":"etl-29461234","ownerReferences":[{"kind":"CronJob","name":"etl","controller":true}]}}`)
		case r.URL.Path == "/api/v1/namespaces/shop/pods/late":
			fmt.Fprint(w, `{"metadata":{"name":"late","namespace":"shop","uid":"u9","ownerReferences":[{"kind":"DaemonSet","name":"late","controller":true}]},"spec":{"nodeName":"n1","containers":[{"name":"c"}]}}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	})
	c.API = address
	s := source(t, c)
	r := workloadtest.Resolver(t, workload.Config{}, stub{}, s)
	path := "/kubepods/burstable/pod" + uidA + "/" + idApp
	resolved := func(label string) func() bool {
		return func() bool {
			w := r.Resolve(context.Background(), 1<<40, path, 0)
			return w.Pod != nil && w.Pod.Labels["app"] == label && w.Unresolved == ""
		}
	}
	workloadtest.Eventually(t, "the list is known", resolved("cart"))
	if w := r.Resolve(context.Background(), 1<<40, path, 0); w.Key() != "pod shop/Deployment/cart/app@sha256:"+strings.Repeat("cd", 32) {
		t.Errorf("key %q", w.Key())
	}
	workloadtest.Eventually(t, "the second page is known", func() bool { _, err := s.Local(workload.Ref{ID: "etl1"}); return err == nil })
	if f, err := s.Local(workload.Ref{ID: "etl1"}); err != nil || f.Pod.OwnerKind != "CronJob" || f.Pod.OwnerName != "etl" {
		t.Errorf("%+v, %v", f.Pod, err)
	}
	send := func(kind, object string) {
		events <- `{"type":"` + kind + `","object":` + strings.ReplaceAll(object, "\n", "") + `}`
	}
	send("MODIFIED", cart("6", "basket"))
	workloadtest.Eventually(t, "a changed label is known", resolved("basket"))
	send("BOOKMARK", `{"kind":"Pod","metadata":{"resourceVersion":"9"}}`)
	events <- "" // the server ends the watch: it goes on
	workloadtest.Eventually(t, "the next watch", func() bool { mu.Lock(); defer mu.Unlock(); return watches == 2 })
	send("ERROR", `{"kind":"Status","code":410}`)
	workloadtest.Eventually(t, "the next list", func() bool { mu.Lock(); defer mu.Unlock(); return lists == 4 && watches == 3 })
	send("DELETED", cart("10", "basket"))
	workloadtest.Eventually(t, "the end is known", func() bool {
		_, err := s.Local(workload.Ref{ID: idApp, PodUID: uidA})
		return err != nil
	})
	// A pod the watch did not tell of yet, by the name that its runtime has.
	f, err := s.Lookup(context.Background(), workload.Ref{ID: "l1", PodUID: "u9", Pod: &bollwerk.Pod{UID: "u9", Namespace: "shop", Name: "late", Container: "c"}})
	if err != nil || f.Pod.OwnerKind != "DaemonSet" || f.Pod.OwnerName != "late" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := s.Lookup(context.Background(), workload.Ref{ID: "l1", PodUID: "u8", Pod: &bollwerk.Pod{UID: "u8", Namespace: "../..", Name: "x"}}); err == nil {
		t.Error("a name that climbs was asked for")
	}
}

// stub is a runtime that knows the container's name only.
type stub struct{}

func (stub) Name() string        { return "containerd" }
func (stub) Part() workload.Part { return workload.PartContainer }
func (stub) Local(r workload.Ref) (workload.Found, error) {
	return workload.Found{Container: bollwerk.Container{ID: r.ID, Runtime: "containerd"}, Pod: &bollwerk.Pod{UID: uidA, Container: "app"}}, nil
}
func (s stub) Lookup(_ context.Context, r workload.Ref) (workload.Found, error) { return s.Local(r) }
func (stub) List(context.Context) ([]workload.Found, error)                     { return nil, nil }
func (stub) Watch(ctx context.Context, _ func(workload.Found)) error            { <-ctx.Done(); return nil }

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"plain HTTP to another machine", Config{Kubelet: "http://10.0.0.7:10255"}, "the token would go to whoever answers"},
		{"unchecked to another machine", Config{Kubelet: "https://10.0.0.7:10250", UncheckedKubelet: true}, "the token would go to whoever answers"},
		{"no scheme", Config{API: "10.0.0.1:443", Node: "n"}, "not the address of a server"},
		{"no node", Config{API: "https://10.0.0.1:443"}, "spec.nodeName"},
		{"no such CA", Config{API: "https://10.0.0.1:443", Node: "n", CAFile: "/nonexistent"}, "nonexistent"},
	} {
		if _, err := New(c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	address, c := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	c.Kubelet = address
	if _, err := source(t, c).List(context.Background()); err == nil || !strings.Contains(err.Error(), "give the agent's service account the right") {
		t.Errorf("forbidden: %v", err)
	}
	// A certificate nobody vouches for.
	c.CAFile = ""
	if _, err := source(t, c).List(context.Background()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
	c.UncheckedKubelet = true
	if _, err := source(t, c).List(context.Background()); err == nil || !strings.Contains(err.Error(), "HTTP 403") {
		t.Errorf("unchecked on the loopback address: %v", err)
	}
	// A redirect would carry the token elsewhere.
	address, c = server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.org/", http.StatusFound)
	})
	c.Kubelet = address
	if _, err := source(t, c).List(context.Background()); err == nil || !strings.Contains(err.Error(), "HTTP 302") {
		t.Errorf("redirect: %v", err)
	}
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(context.Background()); err != workload.ErrAbsent {
		t.Errorf("without a configuration: %v", err)
	}
}

func TestOwners(t *testing.T) {
	at := time.Date(2026, 1, 6, 10, 34, 0, 0, time.UTC)
	for _, c := range []struct{ job, kind, name string }{
		{fmt.Sprintf("etl-%d", at.Unix()/60), "CronJob", "etl"},
		{fmt.Sprintf("nightly-etl-%d", at.Unix()/60-60), "CronJob", "nightly-etl"},
		{fmt.Sprintf("etl-%d", at.Unix()/60+10), "Job", ""},
		{"etl-2024", "Job", ""}, {"etl", "Job", ""}, {"-1", "Job", ""}, {"etl-99999999999999999999", "Job", ""},
	} {
		if c.name == "" {
			c.name = c.job
		}
		if kind, name := cronJobOf(c.job, at); kind != c.kind || name != c.name {
			t.Errorf("%s: %s %s", c.job, kind, name)
		}
	}
	if k, n := deploymentOf("cart-abc", map[string]string{"pod-template-hash": "abd"}); k != "ReplicaSet" || n != "cart-abc" {
		t.Errorf("%s %s", k, n)
	}
	// A static pod, as the API server shows its mirror.
	s, err := New(Config{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("0f", 16)
	var p podJSON
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"etcd-n1","namespace":"kube-system","uid":"u","annotations":{"kubernetes.io/config.hash":"`+hash+`","kubernetes.io/config.mirror":"`+hash+`"},"ownerReferences":[{"kind":"Node","name":"n1","controller":true}]},"spec":{"containers":[{"name":"etcd"}]},"status":{"containerStatuses":[{"name":"etcd","containerID":"containerd://e1"}]}}`), &p); err != nil {
		t.Fatal(err)
	}
	s.put(context.Background(), &p)
	f, err := s.Local(workload.Ref{ID: "e1", PodUID: hash})
	if err != nil || f.Pod.OwnerKind != "Pod" || f.Pod.OwnerName != "etcd" {
		t.Errorf("%+v, %v", f.Pod, err)
	}
	s.drop("u")
	if _, err := s.Local(workload.Ref{ID: "e1", PodUID: hash}); err == nil {
		t.Error("it is still known by its hash")
	}
}

// A list that does not end is given up.
func TestEndless(t *testing.T) {
	r := &metered{r: endless{}, left: 100}
	n := 0
	buf := make([]byte, 64)
	for {
		m, err := r.Read(buf)
		n += m
		if err != nil {
			break
		}
	}
	if n != 100 {
		t.Errorf("%d bytes were read", n)
	}
	if _, err := readPods(endless{}, func(*podJSON) {}); err == nil {
		t.Error("what is no list was read")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

func FuzzPods(f *testing.F) {
	f.Add([]byte(pods("1", cart("1", "a"))))
	f.Add([]byte(`{"items":null}`))
	f.Add([]byte(`{"items":[{"metadata":{"name":"a","namespace":"b","uid":"c","ownerReferences":[{"kind":"Job","name":"x-29000000","controller":true}]}}],"metadata":{"continue":"x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := New(Config{Node: "n"})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = readPods(bytes.NewReader(b), func(p *podJSON) { s.put(context.Background(), p) })
		for id := range s.byID {
			if !workload.ValidID(id) {
				t.Errorf("id %q", id)
			}
			found, err := s.Local(workload.Ref{ID: id})
			if err == nil && (len(found.Pod.Name) > 512 || len(found.Pod.Labels) > 64) {
				t.Error("not bounded")
			}
		}
	})
}
