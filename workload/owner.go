package workload

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// owner is what the replicas of a container have in common, "" for one that stands alone.
// It is read from labels, which whoever makes the container chooses, and the image may
// bring some along: a container that claims another's service shares its profile only
// with the same image, and no right comes of it.
//
//	Compose, podman-compose   com.docker.compose.project, .service    shop/web, shop/web/run for a one-off command
//	Swarm                     com.docker.swarm.service.name           shop_web
//	Nomad                     com.hashicorp.nomad.job_name, .task_group_name, .task_name (as far as they are
//	                          configured), else the name without the allocation's id
func owner(c *bollwerk.Container) string {
	if len(c.Labels) == 0 {
		return ""
	}
	label := func(name string) string { return strings.TrimSpace(c.Labels[name]) }
	const compose, nomad = "com.docker.compose.", "com.hashicorp.nomad."
	if service := label("com.docker.swarm.service.name"); service != "" {
		return service
	}
	project, service := label(compose+"project"), label(compose+"service")
	if project == "" && service != "" {
		project = label("io.podman.compose.project")
	}
	if project != "" && service != "" {
		if strings.EqualFold(label(compose+"oneoff"), "true") {
			return project + "/" + service + "/run" // another command than the service's
		}
		return project + "/" + service
	}
	if alloc := label(nomad + "alloc_id"); alloc != "" {
		task := label(nomad + "task_name")
		if task == "" {
			task, _ = strings.CutSuffix(c.Name, "-"+alloc)
		}
		var parts []string
		for _, p := range [...]string{label(nomad + "job_name"), label(nomad + "task_group_name"), task} {
			if p != "" {
				parts = append(parts, p)
			}
		}
		return strings.Join(parts, "/")
	}
	return ""
}
