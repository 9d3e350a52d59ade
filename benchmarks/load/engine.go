package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// The stand-in engine speaks as much of Ollama's API as an agent needs and times every token: a token is its own time
// stamp of 21 bytes, so whoever receives it can say how long it travelled. What to produce stands in the prompt:
// "n=600 r=60" is 600 tokens at 60 a second, r=0 is as fast as possible. One flushed line of about 120 bytes a token.
const modelName = "bench:latest"

type order struct {
	tokens int
	rate   float64
}

func (o order) prompt() string { return fmt.Sprintf("n=%07d r=%08.2f", o.tokens, o.rate) }

func parseOrder(prompt string) (order, error) {
	var o order
	for _, field := range strings.Fields(prompt) {
		name, value, _ := strings.Cut(field, "=")
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return o, fmt.Errorf("cannot read %q", field)
		}
		switch name {
		case "n":
			o.tokens = int(number)
		case "r":
			o.rate = number
		}
	}
	return o, nil
}

// stamp is the time as text of 21 bytes: microseconds since the epoch, padded.
func stamp() string { return fmt.Sprintf("%020d ", time.Now().UnixMicro()) }

func produce(o order, emit func(token string) error) error {
	start := time.Now()
	for i := 0; i < o.tokens; i++ {
		if o.rate > 0 { // the first token comes after one interval, as the others do
			due := start.Add(time.Duration(float64(i+1) / o.rate * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
			}
		}
		if err := emit(stamp()); err != nil {
			return err
		}
	}
	return nil
}

type generateRequest struct {
	Prompt    string `json:"prompt"`
	KeepAlive any    `json:"keep_alive"`
	Messages  []struct {
		Content string `json:"content"`
	} `json:"messages"`
}

const details = `{"format":"gguf","family":"llama","parameter_size":"8B","quantization_level":"Q4_K_M","context_length":8192}`

func engineHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Ollama is running") })
	mux.HandleFunc("/api/version", jsonAnswer(`{"version":"0.99.0"}`))
	mux.HandleFunc("/api/tags", jsonAnswer(`{"models":[{"name":"`+modelName+`","model":"`+modelName+`","size":1000000,"digest":"d1","details":`+details+`,"capabilities":["completion"]}]}`))
	mux.HandleFunc("/api/show", jsonAnswer(`{"details":`+details+`,"model_info":{"general.architecture":"llama","llama.context_length":8192},"capabilities":["completion"]}`))
	// In memory once an agent has asked: a model that was there before would be the owner's, and looked at each time.
	var isLoaded atomic.Bool
	loaded := `{"name":"` + modelName + `","model":"` + modelName + `","size":1000000,"size_vram":0,"context_length":4096}`
	mux.HandleFunc("/api/ps", func(w http.ResponseWriter, r *http.Request) {
		models := ""
		if isLoaded.Load() {
			models = loaded
		}
		jsonAnswer(`{"models":[`+models+`]}`)(w, r)
	})
	mux.HandleFunc("/api/generate", streamAnswer(func(token string) string { return `"response":"` + token + `"` }))
	chat := streamAnswer(func(token string) string {
		return `"message":{"role":"assistant","content":"` + token + `"}`
	})
	mux.HandleFunc("/api/chat", func(w http.ResponseWriter, r *http.Request) {
		isLoaded.Store(true)
		chat(w, r)
	})
	return mux
}

func jsonAnswer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, body)
	}
}

func streamAnswer(field func(token string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request generateRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, `{"error":"bad request"}`, http.StatusBadRequest)
			return
		}
		prompt := request.Prompt
		if len(request.Messages) > 0 {
			prompt = request.Messages[len(request.Messages)-1].Content
		}
		head := `{"model":"` + modelName + `","created_at":"2026-01-01T00:00:00.000000000Z",`
		w.Header().Set("Content-Type", "application/x-ndjson")
		if prompt == "" { // an empty prompt only loads or unloads
			io.WriteString(w, head+field("")+`,"done":true,"done_reason":"load"}`+"\n")
			return
		}
		o, err := parseOrder(prompt)
		if err != nil {
			http.Error(w, `{"error":"`+err.Error()+`"}`, http.StatusBadRequest)
			return
		}
		flusher := w.(http.Flusher)
		err = produce(o, func(token string) error {
			if _, err := io.WriteString(w, head+field(token)+`,"done":false}`+"\n"); err != nil {
				return err
			}
			flusher.Flush()
			return r.Context().Err()
		})
		if err == nil {
			fmt.Fprintf(w, head+field("")+`,"done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":%d}`+"\n", o.tokens)
		}
	}
}

func serveEngine() (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(listener, engineHandler())
	return listener.Addr().String(), nil
}
