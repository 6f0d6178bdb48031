package millstream

import (
	"cmp"
	"errors"
	"unsafe"
)

// Header is one of a request or of an answer.
type Header struct{ Name, Value string }

// Request is what is asked of a server; without a Method it is GET.
type Request struct {
	Method, URL string
	Headers     []Header
	Body        []byte
}

// Answer is what a server answers, whatever its status; or Err, why there is no answer.
type Answer struct {
	Status  int
	Headers []Header
	Body    []byte
	Err     error
}

// Fetch sends all requests at the same time, 1,000 at most, and waits for all answers, which come in
// the same order. Redirects are not followed. They take of the function's time: the pipeline file may
// say time = "30s". A module that does not call it does not ask for servers.
func Fetch(requests ...Request) []Answer {
	before := len(held)
	defer func() {
		clear(held[before:])
		held = held[:before]
	}()
	words := func(address, length uint32) []uint32 { return []uint32{address, length} }
	var asked []uint32
	for _, request := range requests {
		var headers []uint32
		for _, header := range request.Headers {
			headers = append(headers, words(holdText(header.Name))...)
			headers = append(headers, words(holdText(header.Value))...)
		}
		asked = append(asked, words(holdText(cmp.Or(request.Method, "GET")))...)
		asked = append(asked, words(holdText(request.URL))...)
		data, count := hold(headers)
		asked = append(asked, data, count/4)
		asked = append(asked, words(hold(request.Body))...)
	}
	var found [2]uint32
	whileNotRunning(func() {
		hostFetch(unsafe.Pointer(unsafe.SliceData(asked)), uint32(len(requests)), unsafe.Pointer(&found))
	})
	answers := make([]Answer, found[1])
	for at, words := range unsafe.Slice((*[6]uint32)(pointer(found[0])), found[1]) {
		answers[at] = answerOf(words)
	}
	return answers
}

// A result<response, string>, whose parts Go's collector keeps from now on. What is behind the first
// byte, and behind the status, is of no meaning.
func answerOf(words [6]uint32) (answer Answer) {
	text := func(address, length uint32) string { return unsafe.String((*byte)(pointer(address)), length) }
	if words[0]&0xff != 0 {
		return Answer{Err: errors.New(text(words[1], words[2]))}
	}
	for _, pair := range unsafe.Slice((*[4]uint32)(pointer(words[2])), words[3]) {
		answer.Headers = append(answer.Headers, Header{text(pair[0], pair[1]), text(pair[2], pair[3])})
	}
	answer.Status = int(words[1] & 0xffff)
	answer.Body = unsafe.Slice((*byte)(pointer(words[4])), words[5])
	return answer
}

//go:wasmimport millstream:udf/http@0.1.0 fetch
func hostFetch(requests unsafe.Pointer, count uint32, answers unsafe.Pointer)
