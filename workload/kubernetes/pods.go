package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

const (
	maxObject = 8 << 20  // of one pod; etcd takes 1.5 MB
	maxList   = 64 << 20 // of a list, or of one page of it
)

// podJSON is as much of a v1.Pod as is used.
type podJSON struct {
	Metadata struct {
		Name            string            `json:"name"`
		Namespace       string            `json:"namespace"`
		UID             string            `json:"uid"`
		ResourceVersion string            `json:"resourceVersion"`
		Created         time.Time         `json:"creationTimestamp"`
		Labels          map[string]string `json:"labels"`
		Annotations     struct {
			Hash   string `json:"kubernetes.io/config.hash"`
			Mirror string `json:"kubernetes.io/config.mirror"`
			Source string `json:"kubernetes.io/config.source"`
		} `json:"annotations"`
		Owners []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName       string     `json:"nodeName"`
		ServiceAccount string     `json:"serviceAccountName"`
		HostPID        bool       `json:"hostPID"`
		HostNetwork    bool       `json:"hostNetwork"`
		Containers     []specJSON `json:"containers"`
		Init           []specJSON `json:"initContainers"`
		Ephemeral      []specJSON `json:"ephemeralContainers"`
	} `json:"spec"`
	Status struct {
		Containers []statusJSON `json:"containerStatuses"`
		Init       []statusJSON `json:"initContainerStatuses"`
		Phase      string       `json:"phase"`
		IPs        []struct {
			IP string `json:"ip"`
		} `json:"podIPs"`
		Ephemeral []statusJSON `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type specJSON struct {
	Name  string `json:"name"`
	Image string `json:"image"`
	Ports []struct {
		Port uint16 `json:"containerPort"`
	} `json:"ports"`
	Security struct {
		Privileged bool `json:"privileged"`
	} `json:"securityContext"`
}

type statusJSON struct {
	Name    string `json:"name"`
	ID      string `json:"containerID"` // "containerd://<id>"
	ImageID string `json:"imageID"`
}

type listMeta struct {
	ResourceVersion string `json:"resourceVersion"`
	Continue        string `json:"continue"`
}

// readPods reads a v1.PodList and calls fn for each pod.
func readPods(r io.Reader, fn func(*podJSON)) (listMeta, error) { return readList(r, fn) }

// readList reads a list and calls fn for each object; one is in memory at a time.
func readList[T any](r io.Reader, fn func(*T)) (listMeta, error) {
	var meta listMeta
	limited := &io.LimitedReader{R: r, N: maxList}
	dec := json.NewDecoder(limited)
	err := func() error {
		if err := expect(dec, '{'); err != nil {
			return err
		}
		for dec.More() {
			t, err := dec.Token()
			if err != nil {
				return err
			}
			switch t {
			case "metadata":
				if err := dec.Decode(&meta); err != nil {
					return err
				}
			case "items":
				t, err := dec.Token()
				if err != nil {
					return err
				}
				if t == nil {
					continue // null: no pods
				}
				if t != json.Delim('[') {
					return errors.New("items is not a list")
				}
				for dec.More() {
					var p T
					if err := dec.Decode(&p); err != nil {
						return err
					}
					fn(&p)
				}
				if err := expect(dec, ']'); err != nil {
					return err
				}
			default:
				var skip json.RawMessage
				if err := dec.Decode(&skip); err != nil {
					return err
				}
			}
		}
		return expect(dec, '}')
	}()
	if err != nil && limited.N <= 0 {
		err = fmt.Errorf("more than %d bytes", maxList)
	}
	return meta, err
}

func expect(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v where %v should be", t, want)
	}
	return nil
}

func readPod(r io.Reader) (*podJSON, error) {
	var p podJSON
	if err := json.NewDecoder(io.LimitReader(r, maxObject)).Decode(&p); err != nil {
		return nil, fmt.Errorf("pod: %w", err)
	}
	return &p, nil
}

// maxContainers is far beyond what one pod has.
const maxContainers = 256

// pod keeps what is needed of a pod, nil for one without an identity.
func (j *podJSON) pod() *pod {
	m := &j.Metadata
	if m.UID == "" || m.Name == "" || m.Namespace == "" {
		return nil
	}
	p := &pod{
		pod: bollwerk.Pod{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ServiceAccount: j.Spec.ServiceAccount, Labels: m.Labels},
		// The kubelet calls a static pod by the hash of its file, and so does the cgroup;
		// the API server knows its mirror under a uid of its own.
		hostPID: j.Spec.HostPID, hostNet: j.Spec.HostNetwork, addresses: j.addresses(),
	}
	if m.Annotations.Hash != "" && m.Annotations.Hash != m.UID && m.Annotations.Mirror != "" {
		p.alias = m.Annotations.Hash
	}
	ids := map[string]statusJSON{}
	for _, list := range [...][]statusJSON{j.Status.Containers, j.Status.Init, j.Status.Ephemeral} {
		for _, s := range list[:min(len(list), maxContainers)] {
			ids[s.Name] = s
		}
	}
	for _, list := range [...][]specJSON{j.Spec.Containers, j.Spec.Init, j.Spec.Ephemeral} {
		for _, s := range list {
			if len(p.containers) == maxContainers {
				break
			}
			c := podContainer{name: s.Name, image: s.Image, privileged: s.Security.Privileged}
			for _, port := range s.Ports {
				if port.Port != 0 && len(c.ports) < maxContainers {
					c.ports = append(c.ports, port.Port)
				}
			}
			slices.Sort(c.ports)
			c.ports = slices.Compact(c.ports)
			if st, ok := ids[s.Name]; ok {
				if _, id, ok := strings.Cut(st.ID, "://"); ok && workload.ValidID(id) {
					c.id = id
				}
				// A bare digest is that of the configuration with one runtime and of the
				// manifest with another: only one with a repository is certain.
				if i := strings.LastIndexByte(st.ImageID, '@'); i >= 0 {
					if d, err := bollwerk.ParseDigest(st.ImageID[i+1:]); err == nil {
						c.digest = d
					}
				}
			}
			p.containers = append(p.containers, c)
		}
	}
	// Bound what labels and names may take, by the same rule as everywhere.
	f := workload.Found{Pod: &p.pod}
	f.Bound()
	return p
}

// own sets the owner that people speak of: the Deployment, not its ReplicaSet.
func (s *Source) own(ctx context.Context, p *pod, j *podJSON) {
	for _, o := range j.Metadata.Owners {
		if !o.Controller {
			continue
		}
		switch o.Kind {
		case "ReplicaSet":
			p.pod.OwnerKind, p.pod.OwnerName = deploymentOf(o.Name, j.Metadata.Labels)
		case "Job":
			p.pod.OwnerKind, p.pod.OwnerName = cronJobOf(o.Name, j.Metadata.Created)
		case "Node":
			// A static pod: each node has its own, named after it; together they are one.
			p.pod.OwnerKind, p.pod.OwnerName = "Pod", strings.TrimSuffix(j.Metadata.Name, "-"+o.Name)
		default:
			p.pod.OwnerKind, p.pod.OwnerName = o.Kind, o.Name
		}
		if s.api != nil && (o.Kind == "ReplicaSet" && p.pod.OwnerKind == "ReplicaSet" || o.Kind == "Job") {
			if w, ok := s.above(ctx, o.Kind, j.Metadata.Namespace, o.Name); ok {
				p.pod.OwnerKind, p.pod.OwnerName = w.kind, w.name
			}
		}
		return
	}
	if j.Metadata.Annotations.Source == "file" && s.config.Node != "" {
		p.pod.OwnerKind, p.pod.OwnerName = "Pod", strings.TrimSuffix(j.Metadata.Name, "-"+s.config.Node)
	}
}

// deploymentOf: the Deployment controller names a ReplicaSet after itself and the hash
// that it also puts into a label of the pods.
func deploymentOf(rs string, labels map[string]string) (kind, name string) {
	if hash := labels["pod-template-hash"]; hash != "" {
		if d, ok := strings.CutSuffix(rs, "-"+hash); ok && d != "" {
			return "Deployment", d
		}
	}
	return "ReplicaSet", rs
}

// cronJobOf: the CronJob controller names a Job after itself and the minute, since
// 1970, for which it was due. The pod cannot be much older than that, nor older at all.
func cronJobOf(job string, created time.Time) (kind, name string) {
	i := strings.LastIndexByte(job, '-')
	if i > 0 {
		if n, err := strconv.ParseInt(job[i+1:], 10, 32); err == nil && n > 0 {
			due := time.Unix(n*60, 0)
			if !due.After(created.Add(time.Minute)) && created.Sub(due) < 7*24*time.Hour {
				return "CronJob", job[:i]
			}
		}
	}
	return "Job", job
}

const ownerTimeout = time.Second

// above asks the API server who controls a ReplicaSet or Job; once for each.
func (s *Source) above(ctx context.Context, kind, namespace, name string) (owner, bool) {
	if !validName(namespace) || !validName(name) {
		return owner{}, false
	}
	key := kind + "/" + namespace + "/" + name
	s.mu.Lock()
	o, ok := s.owners[key]
	s.mu.Unlock()
	if ok {
		return o, o.kind != ""
	}
	path := "/apis/apps/v1/namespaces/" + url.PathEscape(namespace) + "/replicasets/" + url.PathEscape(name)
	if kind == "Job" {
		path = "/apis/batch/v1/namespaces/" + url.PathEscape(namespace) + "/jobs/" + url.PathEscape(name)
	}
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	resp, err := s.api.get(ctx, path)
	switch {
	case err == nil:
		j, e := readPod(resp.Body) // the metadata of all objects is alike
		resp.Body.Close()
		if e != nil {
			return owner{}, false
		}
		o = owner{kind, name}
		for _, w := range j.Metadata.Owners {
			if w.Controller {
				o = owner{w.Kind, w.Name}
			}
		}
	case ctx.Err() != nil:
		return owner{}, false
	}
	// Refused or gone: what the name tells is all there is, and it is not asked for again.
	s.mu.Lock()
	if len(s.owners) > 4*maxPods {
		clear(s.owners)
	}
	s.owners[key] = o
	s.mu.Unlock()
	return o, o.kind != ""
}
