// A mail sink for benchmarks: takes everything, with PIPELINING, and counts recipients and duplicates.
//
// Commands on standard input, one answer line each: "stats" (JSON), "reset", "dump FILE" (recipients, one a line).
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

type tally struct {
	sync.Mutex
	seen        map[string]int
	accepted    int
	bytes       int64
	first, last time.Time
}

var all = tally{seen: map[string]int{}}

func (t *tally) take(recipient string, size int) {
	t.Lock()
	defer t.Unlock()
	now := time.Now()
	if t.accepted == 0 {
		t.first = now
	}
	t.last = now
	t.accepted++
	t.bytes += int64(size)
	t.seen[recipient]++
}

func (t *tally) stats() map[string]any {
	t.Lock()
	defer t.Unlock()
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	cpu := float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	return map[string]any{
		"accepted": t.accepted, "unique": len(t.seen), "duplicates": t.accepted - len(t.seen),
		"seconds": t.last.Sub(t.first).Seconds(), "bytes": t.bytes, "cpu_seconds": cpu,
	}
}

func (t *tally) reset() {
	t.Lock()
	defer t.Unlock()
	t.seen, t.accepted, t.bytes = map[string]int{}, 0, 0
}

func (t *tally) dump(path string) error {
	t.Lock()
	defer t.Unlock()
	var out bytes.Buffer
	for recipient := range t.seen {
		fmt.Fprintln(&out, recipient)
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

func session(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	out := bufio.NewWriter(conn)
	// Answers leave when no more commands wait: one write for a pipelined group.
	say := func(text string) {
		out.WriteString(text)
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
	say("220 sink\r\n")
	recipient := ""
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			say("250-sink\r\n250 PIPELINING\r\n")
		case bytes.HasPrefix(line, []byte("RCPT TO:<")):
			recipient = string(line[9:bytes.IndexByte(line, '>')])
			say("250 ok\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			out.WriteString("354 go\r\n")
			out.Flush()
			size := 0
			for {
				line, err = in.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 3 && line[0] == '.' {
					break
				}
				size += len(line)
			}
			all.take(recipient, size)
			say("250 2.0.0 taken\r\n")
		case bytes.HasPrefix(line, []byte("QUIT")):
			say("221 bye\r\n")
			out.Flush()
			return
		default:
			say("250 ok\r\n")
		}
	}
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go session(conn)
		}
	}()
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		var path string
		switch command := commands.Text(); {
		case command == "stats":
			text, _ := json.Marshal(all.stats())
			fmt.Println(string(text))
		case command == "reset":
			all.reset()
			fmt.Println("{}")
		default:
			if _, err := fmt.Sscanf(command, "dump %s", &path); err == nil {
				err = all.dump(path)
				fmt.Println("{}", err)
			}
		}
	}
}
