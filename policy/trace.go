package policy

// TraceLine is the value of one sub-expression of a policy.
type TraceLine struct {
	Depth      int
	Part       string // "when", "pass", "variables: user"
	Expression string
	Value      string
	// Note: "last element" for what was evaluated once per element of a list.
	Note string
}
