// Writes a pre-sign request, or follows the outcomes: presign request CODE | outcomes [COUNT]
//
// From the environment: KAFKA (brokers), KAFKA_CA (PEM file of their authority: TLS), KAFKA_USER and
// KAFKA_PASSWORD (with TLS; KAFKA_MECHANISM: PLAIN, or SCRAM-SHA-256 or -512), GROUP (orders-go).
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func setting(name, otherwise string) string {
	if value, found := os.LookupEnv(name); found {
		return value
	}
	return otherwise
}

func login(user string) sasl.Mechanism {
	password := os.Getenv("KAFKA_PASSWORD")
	switch setting("KAFKA_MECHANISM", "PLAIN") {
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	}
	return plain.Auth{User: user, Pass: password}.AsMechanism()
}

// newClient connects with what the environment says, and with more.
func newClient(more ...kgo.Opt) (*kgo.Client, error) {
	options := append(more, kgo.SeedBrokers(strings.Split(setting("KAFKA", "127.0.0.1:9092"), ",")...))
	file, user := setting("KAFKA_CA", ""), setting("KAFKA_USER", "")
	if file == "" && user == "" {
		return kgo.NewClient(options...)
	}
	secure := &tls.Config{}
	if file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		secure.RootCAs = x509.NewCertPool()
		secure.RootCAs.AppendCertsFromPEM(pem)
	}
	options = append(options, kgo.DialTLSConfig(secure))
	if user != "" {
		options = append(options, kgo.SASL(login(user)))
	}
	return kgo.NewClient(options...)
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
	client, err := newClient()
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
	ID   string
	Type string
	Time time.Time
	Data struct {
		Endpoint, Reason string
		Retryable        bool
		MchID            string
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

// Orders outcomes: a result wins over a failure, then the later issuedAt (in seconds, zero in a
// failure) wins, then the later completedAt.
type rank struct {
	succeeded             bool
	issuedAt, completedAt time.Time
}

func (a rank) above(b rank) bool {
	if a.succeeded != b.succeeded {
		return a.succeeded
	}
	return a.issuedAt.After(b.issuedAt) || a.issuedAt.Equal(b.issuedAt) && a.completedAt.After(b.completedAt)
}

// newer stores the rank if it is the highest of its key so far, and returns whether it is.
func newer(ranks map[string]rank, key string, this rank) bool {
	if known, found := ranks[key]; found && !this.above(known) {
		return false
	}
	ranks[key] = this
	return true
}

// handle stores one outcome in known and sessions (your database) and returns what is new, or nil.
//
// The same outcome may come twice, because offsets are committed after handling. An id may have
// several outcomes, and a code several results. Comparing ranks handles all of this.
func handle(o *outcome, known, sessions map[string]rank) map[string]any {
	this := rank{strings.HasSuffix(o.Type, ".succeeded"), o.Data.IssuedAt, o.Time}
	if !newer(known, o.ID, this) {
		return nil
	}
	if !this.succeeded {
		// The reason may be one that you do not know; retryable says what to do.
		return map[string]any{"code": o.Data.Code, "failed": o.Data.Reason, "retryable": o.Data.Retryable}
	}
	if !newer(sessions, o.Data.MchID+"/"+*o.Data.Code, this) {
		return nil
	}
	return map[string]any{"code": o.Data.Code, "expires_at": o.Data.ExpiresAt, "open": opening(o)}
}

// outcomes follows both topics and prints what is new; it ends after count records, if that is not 0.
func outcomes(ctx context.Context, count int) error {
	client, err := newClient(
		kgo.ConsumerGroup(setting("GROUP", "orders-go")),
		kgo.ConsumeTopics("presign.results", "presign.failures"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit())
	if err != nil {
		return err
	}
	defer client.Close()
	known, sessions := map[string]rank{}, map[string]rank{}
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
			if news := handle(&o, known, sessions); news != nil {
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
