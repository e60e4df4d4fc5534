// Package falco owns the reading of rule files of Falco (https://falco.org/docs/concepts/rules/):
// it turns each rule into a policy over events that the same matcher asks as all others, and
// says of each rule how much of its meaning survives: exactly, partly or not, and why.
//
// It does not own the evaluation (package policy), nor what a sensor delivers: a rule that is
// translated exactly still sees only what the sensors of a node tell.
package falco
