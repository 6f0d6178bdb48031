// A function for Millstream. README.md says how it is built, tested and used, and package
// millstream what functions can be like.
package main

import (
	"strings"
	"unsafe"

	"udf/millstream"
)

// The domain of an e-mail address, in lower case; NULL where there is none.
//
// Nobody calls it for an email that is NULL: the answer is NULL. A panic fails a row, and says why.
//
//go:wasmexport email-domain
func emailDomain(email string) unsafe.Pointer {
	at := strings.LastIndexByte(email, '@')
	if at < 1 || at == len(email)-1 {
		return millstream.OptionalText("", false)
	}
	return millstream.OptionalText(strings.ToLower(email[at+1:]), true)
}

func main() {}
