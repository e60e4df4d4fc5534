// Package npm owns reading what the JavaScript package managers write: installed
// node_modules, package-lock.json (versions 1 to 3), yarn.lock (classic and
// Berry), pnpm-lock.yaml and bun.lock.
package npm
