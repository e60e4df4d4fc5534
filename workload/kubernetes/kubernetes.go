// Package kubernetes tells about the pods of this node: namespace, owner, labels,
// service account, and the image and ports their specification declares. It asks the
// kubelet of the node, or lists and watches the API server for this node's pods only.
//
// It does not tell which containers run: that is the container runtime's word.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// Config of the source. With the zero value it is absent.
type Config struct {
	// Node is the name of this node as Kubernetes has it.
	Node string
	// Kubelet is where the kubelet of this node answers: "https://127.0.0.1:10250".
	// Its list has the pods before the API server knows that they run, and costs the
	// cluster nothing.
	Kubelet string
	// API is the API server: "https://10.96.0.1:443". With Kubelet set it is asked for
	// owners only, else its pods are listed and watched.
	API string
	// TokenFile holds the bearer token; it is read again for each request, as it is
	// replaced while we run. "" for none.
	TokenFile string
	// CAFile holds the certificates both are checked against; "" for the machine's.
	CAFile string
	// UncheckedKubelet leaves the kubelet's certificate unchecked, which by default is
	// signed by itself. Whoever takes the kubelet's port on the node then gets the
	// token: give the token no right but to get nodes/proxy or nodes/pods. Addresses
	// other than the loopback ones are refused.
	UncheckedKubelet bool
	// Poll is the time between two looks at the kubelet's list, 60 s by default; an
	// unknown container makes it look at once.
	Poll time.Duration
}

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster is the Config of a pod with a service account: the API server of its
// environment. ok is false outside of a pod.
func InCluster(node string, getenv func(string) string) (Config, bool) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return Config{}, false
	}
	return Config{Node: node, API: "https://" + net.JoinHostPort(host, port),
		TokenFile: filepath.Join(serviceAccount, "token"), CAFile: filepath.Join(serviceAccount, "ca.crt")}, true
}

// Source is a workload.Source.
type Source struct {
	config       Config
	kubelet, api *client

	mu     sync.Mutex
	synced bool
	byUID  map[string]*pod   // also by the hash of static pods
	byID   map[string]string // container → uid
	owners map[string]owner
	fn     func(workload.Found)
	locate func(workload.Located) // who wants the addresses

	fetching sync.Mutex // one look at the kubelet at a time
	fetched  time.Time
}

// pod is what is kept of one.
type pod struct {
	pod        bollwerk.Pod // without container
	alias      string       // the other uid of a static pod
	hostPID    bool
	hostNet    bool
	containers []podContainer
	addresses  []netip.Addr
}

type podContainer struct {
	name, id, image string
	digest          bollwerk.Digest
	ports           []uint16
	privileged      bool
}

type owner struct{ kind, name string }

// New makes the source; nothing is asked. A Config that would give the token away is refused.
func New(c Config) (*Source, error) {
	if c.Poll <= 0 {
		c.Poll = time.Minute
	}
	s := &Source{config: c, byUID: map[string]*pod{}, byID: map[string]string{}, owners: map[string]owner{}}
	var err error
	if c.Kubelet != "" {
		if s.kubelet, err = newClient(c.Kubelet, c, c.UncheckedKubelet); err != nil {
			return nil, fmt.Errorf("kubelet: %w", err)
		}
	}
	if c.API != "" {
		if s.api, err = newClient(c.API, c, false); err != nil {
			return nil, fmt.Errorf("API server: %w", err)
		}
		if c.Kubelet == "" && c.Node == "" {
			return nil, errors.New("API server: the name of this node is needed to ask for its pods only; set it (spec.nodeName)")
		}
	}
	return s, nil
}

// Name is "kubernetes".
func (s *Source) Name() string { return "kubernetes" }

// Part is the pod.
func (s *Source) Part() workload.Part { return workload.PartPod }

// Close ends idle connections.
func (s *Source) Close() {
	for _, c := range [...]*client{s.kubelet, s.api} {
		if c != nil {
			c.http.CloseIdleConnections()
		}
	}
}

// Local answers from what was listed and watched.
func (s *Source) Local(ref workload.Ref) (workload.Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(ref)
}

func (s *Source) find(ref workload.Ref) (workload.Found, error) {
	uid := ref.PodUID
	if ref.Pod != nil && ref.Pod.UID != "" {
		uid = ref.Pod.UID
	}
	if uid == "" {
		uid = s.byID[ref.ID]
	}
	p := s.byUID[uid]
	if p == nil || ref.ID == "" {
		return workload.Found{}, workload.ErrUnknown
	}
	f := workload.Found{Container: bollwerk.Container{ID: ref.ID, HostPID: p.hostPID, HostNetwork: p.hostNet}}
	pod := p.pod
	f.Pod = &pod
	if ref.Pod != nil && ref.Pod.Sandbox {
		pod.Sandbox, pod.Container = true, "POD"
		return f, nil
	}
	for i := range p.containers {
		c := &p.containers[i]
		if c.id == ref.ID || ref.Pod != nil && ref.Pod.Container == c.name && c.name != "" {
			pod.Container = c.name
			f.Container.Name, f.Container.Image, f.Container.Digest = c.name, c.image, c.digest
			f.Container.Ports, f.Container.Privileged = c.ports, c.privileged
			return f, nil
		}
	}
	// Known pod, unknown container: its status comes later, or it is the sandbox.
	return workload.Found{}, workload.ErrUnknown
}

// fresh is how old the kubelet's list may be for a container that is not in it.
const fresh = 200 * time.Millisecond

// Lookup asks again for a container that is not known.
func (s *Source) Lookup(ctx context.Context, ref workload.Ref) (workload.Found, error) {
	if f, err := s.Local(ref); err == nil {
		return f, nil
	}
	if s.kubelet == nil && s.api == nil {
		return workload.Found{}, workload.ErrAbsent
	}
	if ref.PodUID == "" && ref.Pod == nil {
		return workload.Found{}, workload.ErrUnknown
	}
	var err error
	if s.kubelet != nil {
		err = s.fetch(ctx, fresh)
	} else {
		err = s.get(ctx, ref)
	}
	if err != nil {
		return workload.Found{}, err
	}
	return s.Local(ref)
}

// get asks the API server for one pod whose name the runtime told.
func (s *Source) get(ctx context.Context, ref workload.Ref) error {
	if ref.Pod == nil || !validName(ref.Pod.Namespace) || !validName(ref.Pod.Name) {
		return workload.ErrUnknown
	}
	resp, err := s.api.get(ctx, "/api/v1/namespaces/"+url.PathEscape(ref.Pod.Namespace)+"/pods/"+url.PathEscape(ref.Pod.Name))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p, err := readPod(resp.Body)
	if err != nil {
		return err
	}
	if s.config.Node == "" || p.Spec.NodeName == s.config.Node {
		s.put(ctx, p)
	}
	return nil
}

// fetch reads the kubelet's list unless it was read a moment ago.
func (s *Source) fetch(ctx context.Context, age time.Duration) error {
	asked := time.Now()
	s.fetching.Lock()
	defer s.fetching.Unlock()
	if s.fetched.After(asked) || time.Since(s.fetched) < age {
		return nil // somebody looked while we waited
	}
	began := time.Now()
	resp, err := s.kubelet.get(ctx, "/pods")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := s.take(ctx, resp, nil); err != nil {
		return fmt.Errorf("kubelet: list of pods: %w", err)
	}
	s.fetched = began
	return nil
}

// take reads a list and replaces what is known, unless more pages are to come.
func (s *Source) take(ctx context.Context, resp *http.Response, page *listPage) error {
	var seen map[string]bool
	if page != nil {
		seen = page.seen
	} else {
		seen = map[string]bool{}
	}
	meta, err := readPods(resp.Body, func(p *podJSON) {
		seen[p.Metadata.UID] = true
		s.put(ctx, p)
	})
	if err != nil {
		return err
	}
	if page != nil {
		page.version, page.next = meta.ResourceVersion, meta.Continue
		if meta.Continue != "" {
			return nil
		}
	}
	s.mu.Lock()
	var gone []string
	for uid, p := range s.byUID {
		if !seen[uid] && uid != p.alias {
			gone = append(gone, uid)
		}
	}
	s.synced = true
	s.mu.Unlock()
	for _, uid := range gone {
		s.drop(uid)
	}
	return nil
}

// List asks for the pods of the node.
func (s *Source) List(ctx context.Context) ([]workload.Found, error) {
	switch {
	case s.kubelet != nil:
		if err := s.fetch(ctx, fresh); err != nil {
			return nil, err
		}
	case s.api != nil:
		if _, err := s.list(ctx); err != nil {
			return nil, err
		}
	default:
		return nil, workload.ErrAbsent
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []workload.Found
	for id := range s.byID {
		if f, err := s.find(workload.Ref{ID: id}); err == nil {
			out = append(out, f)
		}
	}
	return out, nil
}

type listPage struct {
	seen          map[string]bool
	version, next string
}

const (
	pageSize  = 100
	maxPages  = 100
	watchTime = 5 * time.Minute
)

// list reads the API server's pods of this node, page by page, and returns the version
// from which to watch.
func (s *Source) list(ctx context.Context) (string, error) {
	page := listPage{seen: map[string]bool{}}
	for range maxPages {
		q := url.Values{"fieldSelector": {"spec.nodeName=" + s.config.Node}, "limit": {fmt.Sprint(pageSize)}}
		if page.next != "" {
			q.Set("continue", page.next)
		}
		resp, err := s.api.get(ctx, "/api/v1/pods?"+q.Encode())
		if err != nil {
			return "", err
		}
		err = s.take(ctx, resp, &page)
		resp.Body.Close()
		if err != nil {
			return "", fmt.Errorf("API server: list of pods: %w", err)
		}
		if page.next == "" {
			return page.version, nil
		}
	}
	return "", fmt.Errorf("API server: list of pods: more than %d", pageSize*maxPages)
}

// Watch follows the pods of the node: with the API server by its watch, with the
// kubelet by asking from time to time.
func (s *Source) Watch(ctx context.Context, fn func(workload.Found)) error {
	if s.kubelet == nil && s.api == nil {
		return workload.ErrAbsent
	}
	s.mu.Lock()
	s.fn = fn
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.fn = nil
		s.mu.Unlock()
	}()
	s.tellAll(fn)
	if s.kubelet != nil {
		t := time.NewTicker(s.config.Poll)
		defer t.Stop()
		for {
			if err := s.fetch(ctx, 0); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			}
		}
	}
	version, err := s.list(ctx)
	for err == nil && ctx.Err() == nil {
		version, err = s.follow(ctx, version)
		if errors.Is(err, errExpired) {
			version, err = s.list(ctx)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tellAll tells a new watcher what is known.
func (s *Source) tellAll(fn func(workload.Found)) {
	s.mu.Lock()
	var all []workload.Found
	for id := range s.byID {
		if f, err := s.find(workload.Ref{ID: id}); err == nil {
			all = append(all, f)
		}
	}
	s.mu.Unlock()
	for _, f := range all {
		fn(f)
	}
}

// put keeps a pod and tells the watcher about its containers.
func (s *Source) put(ctx context.Context, j *podJSON) {
	p := j.pod()
	if p == nil {
		return
	}
	s.own(ctx, p, j)
	s.mu.Lock()
	if len(s.byUID) >= maxPods && s.byUID[p.pod.UID] == nil {
		s.mu.Unlock()
		return
	}
	s.forget(p.pod.UID)
	s.byUID[p.pod.UID] = p
	if p.alias != "" {
		s.byUID[p.alias] = p
	}
	var told []workload.Found
	for _, c := range p.containers {
		if c.id != "" {
			s.byID[c.id] = p.pod.UID
			if f, err := s.find(workload.Ref{ID: c.id}); err == nil {
				told = append(told, f)
			}
		}
	}
	fn, locate := s.fn, s.locate
	s.mu.Unlock()
	if fn != nil {
		for _, f := range told {
			fn(f)
		}
	}
	if locate != nil {
		locate(p.located())
	}
}

const maxPods = 4096

// forget removes a pod from the tables; s.mu is held.
func (s *Source) forget(uid string) []string {
	p := s.byUID[uid]
	if p == nil {
		return nil
	}
	var ids []string
	delete(s.byUID, uid)
	if p.alias != "" && s.byUID[p.alias] == p {
		delete(s.byUID, p.alias)
	}
	for _, c := range p.containers {
		if c.id != "" {
			delete(s.byID, c.id)
			ids = append(ids, c.id)
		}
	}
	return ids
}

func (s *Source) drop(uid string) {
	s.mu.Lock()
	ids := s.forget(uid)
	fn, locate := s.fn, s.locate
	s.mu.Unlock()
	if locate != nil {
		locate(workload.Located{ID: uid})
	}
	if fn != nil {
		for _, id := range ids {
			fn(workload.Found{Container: bollwerk.Container{ID: id}, Gone: true})
		}
	}
}

// validName is a name of Kubernetes (RFC 1123): nothing else goes into a URL.
func validName(s string) bool {
	return s != "" && len(s) <= 253 && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	}) && !strings.HasPrefix(s, ".")
}

// token reads the bearer token.
func (c Config) token() (string, error) {
	if c.TokenFile == "" {
		return "", nil
	}
	b, err := workload.ReadFile(c.TokenFile, 64<<10)
	if os.IsNotExist(err) {
		return "", fmt.Errorf("%s: no such file; mount a service-account token there", c.TokenFile)
	}
	return strings.TrimSpace(string(b)), err
}
