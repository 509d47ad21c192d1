// What the programs in Go share: steps that check what they get, and how their outcome is told.
package main

import (
	cryptotls "crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
)

const (
	largeBytes  = 64 << 20
	partBytes   = 5 << 20
	keysListed  = 1200
	keysDeleted = 1000
	writers     = 16
)

var (
	tls     = strings.HasPrefix(os.Getenv("AWS_ENDPOINT_URL"), "https:")
	large   = randomBytes(largeBytes)
	oddKeys = []string{
		"a b", "a+b", "a%20b", "a%2Fb", "ünïcødé/世界", "dots/../up", "./here", "a//b", "dir/",
		"q?x=1&y=2#z", "'quoted' (1) [2] {3}", "~!@$^*,;:=|<>\"\\`",
	}
)

type step struct {
	name string
	run  func(bucket string)
}

// perform runs all steps, each in a bucket of its own, and ends the program: one line a step,
// "ok NAME" or "FAIL NAME: why", and status 1 after a failure.
func perform(program, module string, makeBucket func(name string, locked bool), steps []step) {
	if info, found := debug.ReadBuildInfo(); found {
		for _, used := range info.Deps {
			if used.Path == module {
				fmt.Println("version", used.Version)
			}
		}
	}
	status := 0
	for number, step := range steps {
		bucket := fmt.Sprintf("%s-%d", program, number)
		if !passes(step.name, func() {
			makeBucket(bucket, step.name == "object lock")
			step.run(bucket)
		}) {
			status = 1
		}
	}
	os.Exit(status)
}

// passes runs a step; what is wrong comes as a panic.
func passes(name string, run func()) (passed bool) {
	defer func() {
		if problem := recover(); problem != nil {
			text := strings.ReplaceAll(fmt.Sprint(problem), "\n", " ")
			fmt.Printf("FAIL %s: %s\n", name, text)
		}
	}()
	run()
	fmt.Println("ok", name)
	return true
}

// must gives the answer of a call that has to succeed.
func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}

func equal[T comparable](what string, got, wanted T) {
	if got != wanted {
		panic(fmt.Sprintf("%s: got %v, wanted %v", what, got, wanted))
	}
}

func randomBytes(count int) []byte {
	content := make([]byte, count)
	rand.New(rand.NewSource(1)).Read(content)
	return content
}

// piped gives a reader that knows neither its length nor how to start again.
func piped(content []byte) io.Reader {
	reader, writer := io.Pipe()
	go func() {
		_, err := writer.Write(content)
		writer.CloseWithError(err)
	}()
	return reader
}

// numbered gives the keys "prefix0000" and on, in order.
func numbered(prefix string, count int) (keys []string) {
	for number := range count {
		keys = append(keys, fmt.Sprintf("%s%04d", prefix, number))
	}
	return keys
}

// writeAll calls write with every key, several at a time.
func writeAll(keys []string, write func(key string) error) {
	waiting := make(chan string)
	failures := make(chan error, len(keys))
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for key := range waiting {
				if err := write(key); err != nil {
					failures <- err
				}
			}
		})
	}
	for _, key := range keys {
		waiting <- key
	}
	close(waiting)
	group.Wait()
	if len(failures) > 0 {
		panic(<-failures)
	}
}

// denyDelete is a policy by which nobody deletes below kept/.
func denyDelete(bucket string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` +
		`"Action":"s3:DeleteObject","Resource":"arn:aws:s3:::` + bucket + `/kept/*"}]}`
}

// httpClient is for presigned URLs; it trusts the certificate in this file, over TLS.
func httpClient(certificate string) *http.Client {
	roots := x509.NewCertPool()
	if tls {
		roots.AppendCertsFromPEM(must(os.ReadFile(certificate)))
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &cryptotls.Config{RootCAs: roots},
	}}
}
