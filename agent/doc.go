// Package agent is the role that protects one node: it joins the sensor, the names of
// workloads, rules, detectors, learned profiles and the flight recorder, and acts on
// what is clearly malicious.
//
// It owns the order of things and the truth of every record about what was done. It
// owns no detection, no kernel code and no format.
package agent
