// Command agentbench measures what the agent costs and holds it to its bounds: ratios
// of the same work with and without the agent, in turns, and figures of the agent
// itself. It prints one table and ends with 1 when a bound is broken.
//
// It owns the measuring; what is measured is the program as it is shipped, in its
// default configuration, and a small workload of its own (worker/worker.c). Bounds are
// never weakened here: a figure that cannot be had says so.
package main
