// Writes a pre-sign request, or follows the outcomes: presign request CODE | outcomes [COUNT]
//
// The environment variable KAFKA names the brokers.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func brokers() kgo.Opt {
	if list := os.Getenv("KAFKA"); list != "" {
		return kgo.SeedBrokers(strings.Split(list, ",")...)
	}
	return kgo.SeedBrokers("127.0.0.1:9092")
}

func newID() string {
	var bytes [16]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		panic(err)
	}
	return hex.EncodeToString(bytes[:])
}

// request sends one event; it returns TOPIC/PARTITION/OFFSET, which is the id of its outcome.
func request(ctx context.Context, code string) (string, error) {
	event, err := json.Marshal(map[string]any{
		"specversion": "1.0",
		"id":          newID(),
		"source":      "/orders",
		"type":        "wechatpay.presign.app.requested",
		"mchid":       "1900007291",
		// The user does not wait longer than this; a later call is useless.
		"expirytime": time.Now().Add(2 * time.Minute).UTC().Format(time.RFC3339),
		"data": map[string]any{
			"appid":                    "wxd678efh567hg6787",
			"plan_id":                  12535,
			"out_contract_code":        code,
			"contract_display_account": "微信代扣用户A",
			"contract_notify_url":      "https://yourapp.com/notify",
		},
	})
	if err != nil {
		return "", err
	}
	client, err := kgo.NewClient(brokers())
	if err != nil {
		return "", err
	}
	defer client.Close()
	sent, err := client.ProduceSync(ctx, &kgo.Record{
		Topic: "presign.requests", Key: []byte(code), Value: event,
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
	}).First()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/%d/%d", sent.Topic, sent.Partition, sent.Offset), nil
}

// The members of an outcome that this program uses. Ignore others.
type outcome struct {
	Type string
	Time time.Time
	Data struct {
		Endpoint, Reason string
		Retryable        bool
		Code             *string   `json:"out_contract_code"`
		IssuedAt         time.Time `json:"issued_at"`
		ExpiresAt        string    `json:"expires_at"`
		Response         struct {
			ID       string `json:"pre_entrustweb_id"`
			AppID    string `json:"redirect_appid"`
			Path     string `json:"redirect_path"`
			URL      string `json:"redirect_url"`
			MiniUser string `json:"miniprogram_username"`
			MiniPath string `json:"miniprogram_path"`
		}
	}
}

// opening returns what the client calls to open the signing page.
func opening(o *outcome) map[string]any {
	answer := o.Data.Response
	id := map[string]any{"pre_entrustweb_id": answer.ID}
	switch strings.TrimPrefix(o.Data.Endpoint, "partner-") {
	case "app":
		if answer.MiniUser != "" {
			return map[string]any{"call": "WXLaunchMiniProgram", "userName": answer.MiniUser, "path": answer.MiniPath}
		}
		return map[string]any{"call": "WXOpenBusinessWebview", "businessType": 12, "queryInfo": id}
	case "mini-program":
		return map[string]any{"call": "wx.navigateToMiniProgram", "appId": answer.AppID, "path": answer.Path, "extraData": id}
	default:
		return map[string]any{"call": "redirect", "url": answer.URL}
	}
}

// Orders sessions: by issued_at (seconds), then by the time of the outcome.
type age struct {
	issuedAt, completedAt time.Time
}

func (a age) after(b age) bool {
	return a.issuedAt.After(b.issuedAt) || a.issuedAt.Equal(b.issuedAt) && a.completedAt.After(b.completedAt)
}

// handle stores one outcome in sessions (your database) and returns what is new, or nil.
//
// The same outcome may come twice, because offsets are committed after handling. Of two results
// for one code the later one counts. Comparing handles both.
func handle(o *outcome, sessions map[string]age) map[string]any {
	if strings.HasSuffix(o.Type, ".failed") {
		return map[string]any{"code": o.Data.Code, "failed": o.Data.Reason, "retryable": o.Data.Retryable}
	}
	this := age{o.Data.IssuedAt, o.Time}
	known, found := sessions[*o.Data.Code]
	if found && !this.after(known) {
		return nil
	}
	sessions[*o.Data.Code] = this
	return map[string]any{"code": o.Data.Code, "expires_at": o.Data.ExpiresAt, "open": opening(o)}
}

// outcomes follows both topics and prints what is new; it ends after count records, if that is not 0.
func outcomes(ctx context.Context, count int) error {
	client, err := kgo.NewClient(brokers(),
		kgo.ConsumerGroup("orders-go"),
		kgo.ConsumeTopics("presign.results", "presign.failures"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit())
	if err != nil {
		return err
	}
	defer client.Close()
	sessions := map[string]age{}
	for handled := 0; count == 0 || handled < count; {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			return err
		}
		for _, record := range fetched.Records() {
			var o outcome
			if err := json.Unmarshal(record.Value, &o); err != nil {
				return err
			}
			if news := handle(&o, sessions); news != nil {
				line, _ := json.Marshal(news)
				fmt.Println(string(line))
			}
			handled++
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
	return nil
}

func run(arguments []string) error {
	ctx := context.Background()
	switch {
	case len(arguments) == 2 && arguments[0] == "request":
		id, err := request(ctx, arguments[1])
		if err == nil {
			fmt.Println(id)
		}
		return err
	case len(arguments) == 1 && arguments[0] == "outcomes":
		return outcomes(ctx, 0)
	case len(arguments) == 2 && arguments[0] == "outcomes":
		count, err := strconv.Atoi(arguments[1])
		if err != nil {
			return err
		}
		return outcomes(ctx, count)
	}
	return fmt.Errorf("usage: presign request CODE | outcomes [COUNT]")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
