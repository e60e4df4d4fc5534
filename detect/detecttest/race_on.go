//go:build race

package detecttest

// raced: the race detector's own work at each access would be what is measured.
const raced = true
