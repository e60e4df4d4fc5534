// Package finding owns judgement: what counts, what comes first and why, what to
// do about it, and whether a pipeline may go on.
//
// It works on the words alone. It matches nothing against advisories (package
// vuln does) and draws nothing (package report does).
package finding
