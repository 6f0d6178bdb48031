// Functions that ask servers, in Go.
package main

import (
	"fmt"

	"udf/millstream"
)

func shown(answer millstream.Answer) string {
	if answer.Err != nil {
		return "error: " + answer.Err.Error()
	}
	echoed := "-"
	for _, header := range answer.Headers {
		if header.Name == "x-echo" {
			echoed = header.Value
		}
	}
	return fmt.Sprintf("%d %s %s", answer.Status, echoed, answer.Body)
}

func fetched(in struct{ Urls []string }) (texts []string, _ error) {
	var requests []millstream.Request
	for _, url := range in.Urls {
		requests = append(requests, millstream.Request{URL: url})
	}
	for _, answer := range millstream.Fetch(requests...) {
		texts = append(texts, shown(answer))
	}
	return texts, nil
}

func posted(in struct{ Url, Body string }) (string, error) {
	answer := millstream.Fetch(millstream.Request{
		Method:  "POST",
		URL:     in.Url,
		Headers: []millstream.Header{{Name: "x-from", Value: "millstream"}, {Name: "x-two", Value: "2"}},
		Body:    []byte(in.Body),
	})[0]
	return shown(answer), answer.Err
}

func init() {
	millstream.Scalar("fetched", fetched, millstream.Volatile)
	millstream.Scalar("posted", posted, millstream.Volatile)
}

func main() {}
