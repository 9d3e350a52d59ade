// Load for an agent: a stand-in engine, a coordinator and clients in one process, as in the figures to beat.
//
//	load                  prints {"engine":ADDR,"coordinator":ADDR} and then answers lines on stdin:
//	  wait                          waits until an agent registers; prints its id and endpoint, and the seconds it took
//	  run ROUTE TARGET AGENT STREAMS TOKENS RATE SESSIONS   one measurement; prints one line of JSON
//	      ROUTE is "direct" (HTTP to the engine itself), "grpc" (TARGET is host:port; AGENT "-" sends no token; a
//	      connection for each session, as the coordinator sends clients) or "grpc-shared" (one connection for all)
//	  bad TARGET AGENT COUNT        COUNT tokens with a wrong signature at once; prints one line of JSON
//	  keys                          how often GetPublicKey was called
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "titanload/pb"
)

type result struct {
	Streams        int     `json:"streams"`
	Tokens         int64   `json:"tokens"`
	Failures       int     `json:"failures"`
	FirstFailure   string  `json:"first_failure,omitempty"`
	Seconds        float64 `json:"seconds"`
	TokensPerS     float64 `json:"tokens_per_s"`
	SessionsPerS   float64 `json:"sessions_per_s"`
	DelayP50Ms     float64 `json:"delay_p50_ms"`
	DelayP99Ms     float64 `json:"delay_p99_ms"`
	FirstTokenP50  float64 `json:"first_token_p50_ms"`
	FirstTokenP99  float64 `json:"first_token_p99_ms"`
	MessagesPerTok float64 `json:"messages_per_token"`
}

// one session's observations
type observed struct {
	delaysUs   []int64
	firstToken time.Duration
	messages   int
	err        error
}

func (o *observed) take(text string, now int64) {
	for len(text) >= 21 {
		if sent, err := strconv.ParseInt(strings.TrimSpace(text[:21]), 10, 64); err == nil {
			o.delaysUs = append(o.delaysUs, now-sent)
		}
		text = text[21:]
	}
}

type session func(o order) observed

func directSession(engine string) session {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return func(o order) (seen observed) {
		body, _ := json.Marshal(map[string]any{"model": modelName, "prompt": o.prompt()})
		start := time.Now()
		response, err := client.Post("http://"+engine+"/api/generate", "application/json", bytes.NewReader(body))
		if err != nil {
			seen.err = err
			return
		}
		defer response.Body.Close()
		lines := bufio.NewReaderSize(response.Body, 64*1024)
		for {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				if err != io.EOF {
					seen.err = err
				}
				return
			}
			now := time.Now()
			if at := bytes.Index(line, []byte(`"response":"`)); at >= 0 && len(line) > at+12+21 && line[at+12] != '"' {
				if seen.firstToken == 0 {
					seen.firstToken = now.Sub(start)
				}
				seen.messages++
				seen.take(string(line[at+12:at+12+21]), now.UnixMicro())
			}
		}
	}
}

// dial gives a client of the target and the call that closes its connection.
func dial(target string) (pb.AgentServiceClient, func() error, error) {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return pb.NewAgentServiceClient(connection), connection.Close, nil
}

// grpcSession's tokens are signed beforehand: a signature costs more than the whole session does on the agent's side.
// Clients of an agent are strangers to each other, so each session has its own connection unless `isShared`.
func grpcSession(target, agent string, c *coordinator, sessions int, isShared bool) (session, error) {
	var shared pb.AgentServiceClient
	if isShared {
		var err error
		if shared, _, err = dial(target); err != nil {
			return nil, err
		}
	}
	tokens := make(chan string, sessions)
	for i := 0; i < sessions && agent != "-"; i++ {
		tokens <- c.token(agent)
	}
	return func(o order) (seen observed) {
		request := &pb.StreamRequest{Prompt: o.prompt()}
		if agent != "-" {
			request.SessionToken = <-tokens
		}
		client, start := shared, time.Now()
		if client == nil {
			dialled, closeConnection, err := dial(target)
			if err != nil {
				seen.err = err
				return
			}
			defer closeConnection()
			client = dialled
		}
		stream, err := client.StreamInference(context.Background(), request)
		if err != nil {
			seen.err = err
			return
		}
		isDone := false
		for {
			message, err := stream.Recv()
			if err != nil {
				if err != io.EOF {
					seen.err = err
				} else if !isDone {
					seen.err = fmt.Errorf("the stream ended without done")
				}
				return
			}
			now := time.Now()
			if message.Content != "" {
				if seen.firstToken == 0 {
					seen.firstToken = now.Sub(start)
				}
				seen.messages++
				seen.take(message.Content, now.UnixMicro())
			}
			isDone = isDone || message.Done
		}
	}, nil
}

const warmUps = 4

// measure runs `sessions` sessions, `streams` at a time, after a warm-up of four short ones.
func measure(one session, o order, streams, sessions int) result {
	for i := 0; i < warmUps; i++ {
		one(order{tokens: 4})
	}
	seen := make([]observed, sessions)
	next := make(chan int)
	var workers sync.WaitGroup
	start := time.Now()
	for w := 0; w < streams; w++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := range next {
				seen[i] = one(o)
			}
		}()
	}
	for i := 0; i < sessions; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	return summarize(seen, streams, time.Since(start))
}

func summarize(seen []observed, streams int, took time.Duration) result {
	r := result{Streams: streams, Seconds: took.Seconds()}
	var delays, firsts []float64
	messages := 0
	for _, o := range seen {
		if o.err != nil {
			if r.Failures == 0 {
				r.FirstFailure = o.err.Error()
			}
			r.Failures++
		}
		for _, us := range o.delaysUs {
			delays = append(delays, float64(us)/1000)
		}
		if o.firstToken > 0 {
			firsts = append(firsts, float64(o.firstToken.Microseconds())/1000)
		}
		messages += o.messages
	}
	r.Tokens = int64(len(delays))
	r.TokensPerS = float64(r.Tokens) / r.Seconds
	r.SessionsPerS = float64(len(seen)-r.Failures) / r.Seconds
	r.DelayP50Ms, r.DelayP99Ms = quantile(delays, 0.5), quantile(delays, 0.99)
	r.FirstTokenP50, r.FirstTokenP99 = quantile(firsts, 0.5), quantile(firsts, 0.99)
	if r.Tokens > 0 {
		r.MessagesPerTok = float64(messages) / float64(r.Tokens)
	}
	return r
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sort.Float64s(values)
	return values[int(q*float64(len(values)-1))]
}

// badTokens sends `count` tokens with a broken signature at once, over several connections, and counts how they end.
func badTokens(target, agent string, c *coordinator, count int) map[string]any {
	clients := make([]pb.AgentServiceClient, 16)
	for i := range clients {
		connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return map[string]any{"error": err.Error()}
		}
		defer connection.Close()
		clients[i] = pb.NewAgentServiceClient(connection)
	}
	tokens := make([]string, count)
	for i := range tokens {
		token := []byte(c.token(agent))
		at := len(token) - 20
		if token[at] == 'A' {
			token[at] = 'B'
		} else {
			token[at] = 'A'
		}
		tokens[i] = string(token)
	}
	codes := map[string]int{}
	var lock sync.Mutex
	var all sync.WaitGroup
	start := time.Now()
	for i := 0; i < count; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			request := &pb.StreamRequest{SessionToken: tokens[i], Prompt: order{tokens: 1}.prompt()}
			stream, err := clients[i%len(clients)].StreamInference(context.Background(), request)
			if err == nil {
				_, err = stream.Recv()
			}
			lock.Lock()
			codes[status.Code(err).String()]++
			lock.Unlock()
		}()
	}
	all.Wait()
	return map[string]any{"codes": codes, "seconds": time.Since(start).Seconds()}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}

func main() {
	engine, err := serveEngine()
	if err != nil {
		fail(err)
	}
	c, address, err := serveCoordinator()
	if err != nil {
		fail(err)
	}
	fmt.Printf("{\"engine\":%q,\"coordinator\":%q}\n", engine, address)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := execute(strings.Fields(lines.Text()), engine, c)
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		text, _ := json.Marshal(answer)
		fmt.Println(string(text))
	}
}

func execute(words []string, engine string, c *coordinator) (any, error) {
	switch {
	case len(words) == 1 && words[0] == "wait":
		start := time.Now()
		select {
		case r := <-c.registered:
			return map[string]any{"agent_id": r.AgentId, "endpoint": r.Endpoint, "seconds": time.Since(start).Seconds(), "models": r.SupportedModels}, nil
		case <-time.After(20 * time.Second):
			return nil, fmt.Errorf("no agent registered within 20 s")
		}
	case len(words) == 1 && words[0] == "keys":
		return map[string]any{"key_calls": c.keyCalls.Load()}, nil
	case len(words) == 8 && words[0] == "run":
		numbers := make([]float64, 4)
		for i, word := range words[4:] {
			number, err := strconv.ParseFloat(word, 64)
			if err != nil {
				return nil, err
			}
			numbers[i] = number
		}
		o := order{tokens: int(numbers[1]), rate: numbers[2]}
		one := directSession(engine)
		if words[1] != "direct" {
			var err error
			isShared := words[1] == "grpc-shared"
			if one, err = grpcSession(words[2], words[3], c, int(numbers[3])+warmUps, isShared); err != nil {
				return nil, err
			}
		}
		return measure(one, o, int(numbers[0]), int(numbers[3])), nil
	case len(words) == 4 && words[0] == "bad":
		count, err := strconv.Atoi(words[3])
		if err != nil {
			return nil, err
		}
		return badTokens(words[1], words[2], c, count), nil
	}
	return nil, fmt.Errorf("cannot do %q", strings.Join(words, " "))
}
