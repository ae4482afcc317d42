// A client of the API on WeChat Pay's own SDK, for tests/interop/clients.py.
//
// usage: interop CA_FILE ADDRESS. The SDK calls api.mch.weixin.qq.com; all connections go to ADDRESS.
// Each line of input is a JSON object and gets one line of output: {"error"} or what was asked.
//
//	{"op": "open", "mchid", "serial_no", "private_key", "apiv3_key", "public_key_id", "public_key"}
//	    keys as PEM; apiv3_key: with certificates; public_key: with it; both: with both
//	{"op": "download"} -> {"certificates": {serial: PEM}}
//	{"op": "call", "path", "body"} -> {"status", "body"}, the answer's signature verified
package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"
)

type request struct {
	Op          string          `json:"op"`
	Mchid       string          `json:"mchid"`
	SerialNo    string          `json:"serial_no"`
	PrivateKey  string          `json:"private_key"`
	Apiv3Key    string          `json:"apiv3_key"`
	PublicKeyID string          `json:"public_key_id"`
	PublicKey   string          `json:"public_key"`
	Path        string          `json:"path"`
	Body        json.RawMessage `json:"body"`
}

type client struct {
	http       *http.Client
	core       *core.Client
	downloader *downloader.CertificateDownloader
}

func newHTTP(caFile, address string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}, nil
}

// The verifier for the keys that the merchant has.
func (c *client) verifier(ask request, public *rsa.PublicKey) auth.Verifier {
	switch {
	case c.downloader == nil:
		return verifiers.NewSHA256WithRSAPubkeyVerifier(ask.PublicKeyID, *public)
	case public == nil:
		return verifiers.NewSHA256WithRSAVerifier(c.downloader)
	default:
		return verifiers.NewSHA256WithRSACombinedVerifier(c.downloader, ask.PublicKeyID, *public)
	}
}

func (c *client) open(ctx context.Context, ask request) (interface{}, error) {
	private, err := utils.LoadPrivateKey(ask.PrivateKey)
	if err != nil {
		return nil, err
	}
	credential := option.WithMerchantCredential(ask.Mchid, ask.SerialNo, private)
	c.downloader = nil
	if ask.Apiv3Key != "" {
		trusting, err := core.NewClient(ctx, credential, option.WithoutValidator(), option.WithHTTPClient(c.http))
		if err != nil {
			return nil, err
		}
		c.downloader, err = downloader.NewCertificateDownloaderWithClient(ctx, trusting, ask.Apiv3Key)
		if err != nil {
			return nil, err
		}
	}
	var public *rsa.PublicKey
	if ask.PublicKey != "" {
		if public, err = utils.LoadPublicKey(ask.PublicKey); err != nil {
			return nil, err
		}
	}
	c.core, err = core.NewClient(ctx, credential, option.WithVerifier(c.verifier(ask, public)),
		option.WithHTTPClient(c.http))
	return struct{}{}, err
}

func (c *client) download(ctx context.Context) (interface{}, error) {
	if err := c.downloader.DownloadCertificates(ctx); err != nil {
		return nil, err
	}
	return map[string]interface{}{"certificates": c.downloader.ExportAll(ctx)}, nil
}

func (c *client) call(ctx context.Context, ask request) (interface{}, error) {
	result, err := c.core.Post(ctx, consts.WechatPayAPIServer+ask.Path, ask.Body)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(result.Response.Body)
	return map[string]interface{}{"status": result.Response.StatusCode, "body": string(body)}, err
}

func (c *client) serve(ctx context.Context, line []byte) (interface{}, error) {
	var ask request
	if err := json.Unmarshal(line, &ask); err != nil {
		return nil, err
	}
	switch ask.Op {
	case "open":
		return c.open(ctx, ask)
	case "download":
		return c.download(ctx)
	case "call":
		return c.call(ctx, ask)
	}
	return nil, fmt.Errorf("unknown op %q", ask.Op)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: interop CA_FILE ADDRESS")
		os.Exit(64)
	}
	transport, err := newHTTP(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(66)
	}
	c := &client{http: transport}
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		answer, err := c.serve(context.Background(), lines.Bytes())
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			os.Exit(74)
		}
	}
}
