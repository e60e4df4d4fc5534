// Package policy owns the product's one policy language and its evaluator: YAML
// documents with CEL expressions over typed subjects, the decisions they lead to,
// and the exceptions that people make from them.
//
// It does not know where subjects come from. A subject is a kind (a word such as
// "image") with a declared shape; any package may declare one. The built-in ones
// are made from the root package's words.
//
// Nothing in this package reads a file, the clock or the network while a policy
// is evaluated: the same policy, subject, parameters and day give the same
// decision, which is what makes a finding replayable.
package policy
