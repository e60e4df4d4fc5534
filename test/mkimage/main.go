// Command mkimage makes an OCI image layout from folders, one layer each, for the
// tests and benchmarks of the project.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/bollwerk/bollwerk/test/image"
)

func main() {
	out := flag.String("o", "", "folder of the layout to make")
	tag := flag.String("tag", "latest", "tag of the image")
	compression := flag.String("compression", "gzip", "gzip, zstd or none")
	user := flag.String("user", "", "user of the image")
	var env stringList
	flag.Var(&env, "env", "NAME=VALUE; may be repeated")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: mkimage -o LAYOUT [-tag T] [-compression C] [-user U] [-env N=V] FOLDER[=history line]…")
		os.Exit(2)
	}
	spec := image.Spec{Tag: *tag, Config: image.Config{User: *user, Env: env}}
	for _, a := range flag.Args() {
		dir, line, _ := strings.Cut(a, "=")
		spec.Layers = append(spec.Layers, image.Layer{Dir: dir, CreatedBy: line, Compression: *compression})
	}
	digest, err := image.WriteLayout(*out, spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
	fmt.Println(digest)
}

type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, ",") }
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }
