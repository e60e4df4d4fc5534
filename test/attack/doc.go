// Package attack runs the agent as a user would, attacks real containers in front of
// it with real commands, and lets others do their honest work beside them. Every attack
// must be told, with the truthful word for what was done about it; the honest work must
// raise nothing.
package attack
