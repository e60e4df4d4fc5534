//go:build race

package main

// memoryFactor: the race detector keeps a shadow of the memory, several times as large.
const memoryFactor = 8
