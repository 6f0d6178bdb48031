// A function for Millstream. README.md says how it is built, tested and used, and package
// millstream what functions can be like.
package main

import (
	"strings"

	"udf/millstream"
)

// What the function is given: each field is an argument.
type given struct {
	Email string
}

// The domain of an e-mail address, in lower case; NULL where there is none.
//
// Nobody calls it for an email that is NULL: the answer is NULL. As a *string it would come as nil.
// An error fails its row, and says why.
func emailDomain(in given) (*string, error) {
	at := strings.LastIndexByte(in.Email, '@')
	if at < 1 || at == len(in.Email)-1 {
		return nil, nil
	}
	domain := strings.ToLower(in.Email[at+1:])
	return &domain, nil
}

func init() {
	millstream.Scalar("email_domain", emailDomain)
}

func main() {}
