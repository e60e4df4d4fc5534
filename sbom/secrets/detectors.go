package secrets

import (
	"regexp"

	"github.com/bollwerk/bollwerk"
	"github.com/google/osv-scalibr/veles"
	"github.com/google/osv-scalibr/veles/secrets/anthropicapikey"
	"github.com/google/osv-scalibr/veles/secrets/awsaccesskey"
	"github.com/google/osv-scalibr/veles/secrets/azurestorageaccountaccesskey"
	"github.com/google/osv-scalibr/veles/secrets/common/simpletoken"
	"github.com/google/osv-scalibr/veles/secrets/cratesioapitoken"
	"github.com/google/osv-scalibr/veles/secrets/digitaloceanapikey"
	"github.com/google/osv-scalibr/veles/secrets/dockerhubpat"
	"github.com/google/osv-scalibr/veles/secrets/gcpapikey"
	"github.com/google/osv-scalibr/veles/secrets/gcpoauth2access"
	"github.com/google/osv-scalibr/veles/secrets/gcpsak"
	"github.com/google/osv-scalibr/veles/secrets/github"
	"github.com/google/osv-scalibr/veles/secrets/gitlabpat"
	"github.com/google/osv-scalibr/veles/secrets/grokxaiapikey"
	"github.com/google/osv-scalibr/veles/secrets/huggingfaceapikey"
	"github.com/google/osv-scalibr/veles/secrets/npmjsaccesstoken"
	"github.com/google/osv-scalibr/veles/secrets/onepasswordkeys"
	"github.com/google/osv-scalibr/veles/secrets/openai"
	"github.com/google/osv-scalibr/veles/secrets/openrouter"
	"github.com/google/osv-scalibr/veles/secrets/perplexityapikey"
	"github.com/google/osv-scalibr/veles/secrets/postmanapikey"
	"github.com/google/osv-scalibr/veles/secrets/privatekey"
	"github.com/google/osv-scalibr/veles/secrets/pypiapitoken"
	"github.com/google/osv-scalibr/veles/secrets/rubygemsapikey"
	"github.com/google/osv-scalibr/veles/secrets/sendgrid"
	"github.com/google/osv-scalibr/veles/secrets/slacktoken"
	"github.com/google/osv-scalibr/veles/secrets/stripeapikeys"
)

// detector is one kind of credential. Anchors are words of which one is in every
// such credential or right beside it; where none of them is, the detector is not
// asked.
type detector struct {
	id       string
	title    string
	severity bollwerk.Severity
	anchors  []string
	veles    veles.Detector
}

// token is what our own patterns find.
type token struct{ Token string }

func pattern(expr string, max uint32) veles.Detector {
	return simpletoken.Detector{
		MaxLen: max, Re: regexp.MustCompile(expr),
		FromMatch: func(b []byte) (veles.Secret, bool) { return token{string(b)}, true },
	}
}

// detectors lists what is looked for. Only kinds with a form of their own are
// taken: what can be told from an ordinary word by its surroundings alone (a UUID
// beside "secret_id") drowns people in false alarms.
func detectors() []detector {
	const c, h, m = bollwerk.SeverityCritical, bollwerk.SeverityHigh, bollwerk.SeverityMedium
	return []detector{
		{"private-key", "Private key", h, []string{"PRIVATE KEY-----"}, privatekey.NewDetector()},
		{"aws-access-key", "AWS access key", c, []string{"AKIA", "ASIA"}, awsaccesskey.NewDetector()},
		{"azure-storage-key", "Azure storage account key", c, []string{"AccountKey=", "AZURE_STORAGE_KEY", "azure_storage_key", "azure-storage-key"}, azurestorageaccountaccesskey.NewDetector()},
		{"gcp-service-account", "Google Cloud service account key", c, []string{"auth_provider_x509_cert_url"}, gcpsak.NewDetector()},
		{"gcp-api-key", "Google API key", m, []string{"AIzaSy"}, gcpapikey.NewDetector()},
		{"gcp-oauth-token", "Google OAuth access token", m, []string{"ya29."}, gcpoauth2access.NewDetector()},
		{"github-token", "GitHub personal access token", c, []string{"ghp_"}, github.NewClassicPATDetector()},
		{"github-fine-grained-token", "GitHub fine-grained access token", c, []string{"github_pat_"}, github.NewFineGrainedPATDetector()},
		{"github-oauth-token", "GitHub OAuth token", c, []string{"gho_"}, github.NewOAuthTokenDetector()},
		{"github-app-user-token", "GitHub App user token", h, []string{"ghu_"}, github.NewAppU2SDetector()},
		{"github-app-server-token", "GitHub App server token", h, []string{"ghs_"}, github.NewAppS2STokenDetector()},
		{"github-refresh-token", "GitHub App refresh token", h, []string{"ghr_"}, github.NewAppRefreshTokenDetector()},
		{"gitlab-token", "GitLab personal access token", c, []string{"glpat-"}, gitlabpat.NewDetector()},
		{"gitlab-ci-token", "GitLab runner or CI token", h, []string{"glrt-", "glptt-", "gldt-", "glcbt-"}, pattern(`\bgl(?:rt|ptt|dt|cbt)-[0-9A-Za-z_-]{20,64}\b`, 80)},
		{"slack-token", "Slack token", h, []string{"xoxb-", "xoxp-", "xoxa-", "xoxs-"}, pattern(`\bxox[bpas]-[0-9]{10,13}-[0-9A-Za-z-]{20,80}\b`, 120)},
		{"slack-app-token", "Slack app-level token", h, []string{"xapp-"}, slacktoken.NewAppLevelTokenDetector()},
		{"slack-config-token", "Slack app configuration token", h, []string{"xoxe.xoxp-"}, slacktoken.NewAppConfigAccessTokenDetector()},
		{"slack-webhook", "Slack incoming webhook", m, []string{"hooks.slack.com/services/"}, pattern(`https://hooks\.slack\.com/services/T[0-9A-Z]{8,12}/B[0-9A-Z]{8,12}/[0-9A-Za-z]{20,30}`, 120)},
		{"npm-token", "npm access token", c, []string{"npm_"}, npmjsaccesstoken.NewDetector()},
		{"pypi-token", "PyPI API token", c, []string{"pypi-"}, pypiapitoken.NewDetector()},
		{"crates-token", "crates.io API token", h, []string{"cio"}, cratesioapitoken.NewDetector()},
		{"rubygems-key", "RubyGems API key", h, []string{"rubygems_"}, rubygemsapikey.NewDetector()},
		{"docker-hub-token", "Docker Hub access token", c, []string{"dckr_pat_"}, dockerhubpat.NewDetector()},
		{"digitalocean-token", "DigitalOcean token", c, []string{"dop_v1_"}, digitaloceanapikey.NewDetector()},
		{"hashicorp-vault-token", "HashiCorp Vault token", c, []string{"hvs.", "hvb."}, pattern(`\bhv[sb]\.[0-9A-Za-z_-]{24,200}\b`, 220)},
		{"1password-service-token", "1Password service account token", c, []string{"ops_eyJ"}, onepasswordkeys.NewServiceTokenDetector()},
		{"1password-secret-key", "1Password secret key", h, []string{"A3-"}, onepasswordkeys.NewSecretKeyDetector()},
		{"stripe-key", "Stripe live secret key", c, []string{"sk_live_"}, stripeapikeys.NewSecretKeyDetector()},
		{"stripe-restricted-key", "Stripe live restricted key", h, []string{"rk_live_"}, stripeapikeys.NewRestrictedKeyDetector()},
		{"stripe-webhook-secret", "Stripe webhook secret", m, []string{"whsec_"}, stripeapikeys.NewWebhookSecretDetector()},
		{"sendgrid-key", "SendGrid API key", h, []string{"SG."}, sendgrid.NewDetector()},
		{"postman-key", "Postman API key", m, []string{"PMAK-"}, postmanapikey.NewAPIKeyDetector()},
		{"openai-key", "OpenAI API key", h, []string{"T3BlbkFJ"}, openai.NewDetector()},
		{"anthropic-key", "Anthropic API key", h, []string{"sk-ant-"}, anthropicapikey.NewDetector()},
		{"openrouter-key", "OpenRouter API key", h, []string{"sk-or-v"}, openrouter.NewDetector()},
		{"xai-key", "xAI API key", h, []string{"xai-"}, grokxaiapikey.NewAPIKeyDetector()},
		{"perplexity-key", "Perplexity API key", m, []string{"pplx-"}, perplexityapikey.NewDetector()},
		{"huggingface-token", "Hugging Face token", h, []string{"hf_"}, huggingfaceapikey.NewDetector()},
	}
}
