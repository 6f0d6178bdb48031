// The functions of all the examples, in Go.
package main

import (
	"strings"
	"unsafe"

	"millstream"
)

//go:wasmexport score
func score(n int64) int64 {
	return n*3 + 1
}

//go:wasmexport email-domain
func emailDomain(email string) unsafe.Pointer {
	_, domain, found := strings.Cut(email, "@")
	return millstream.OptionalText(domain, found)
}

func main() {}
