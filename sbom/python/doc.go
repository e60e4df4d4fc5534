// Package python owns reading what Python's package managers write: installed
// distributions, requirements files, and the lock files of Pipenv, Poetry, uv and
// PDM.
package python
