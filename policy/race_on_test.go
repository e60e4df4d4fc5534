//go:build race

package policy_test

// raceDetector: it allocates where the program does not.
const raceDetector = true
