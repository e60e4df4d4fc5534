package dga

import (
	"math/rand/v2"
	"testing"
)

// Names that people chose, none of them in words.txt as they stand.
var chosen = []string{
	"stackoverflow", "githubusercontent", "googletagmanager", "doubleclick", "cloudfront", "amazonaws", "wordpress", "blogspot", "tumblr", "pinterest",
	"whatsapp", "dropbox", "sourceforge", "letsencrypt", "digitalocean", "newrelic", "atlassian", "jetbrains", "packagecloud", "rubygems",
	"crates-io", "archlinux", "opensuse", "centos-mirror", "kernel-archive", "freedesktop", "gnome-look", "mediamarkt", "deutschebahn", "sueddeutsche",
	"frankfurter", "bundesbank", "wetteronline", "immobilienscout", "booking-hotels", "tripadvisor", "expedia-travel", "washingtonpost", "nytimes-archive",
	"theguardian", "bloomberg", "reuters-news", "weatherchannel", "accuweather", "nationalgeographic", "coursera-learning", "khanacademy", "duolingo-app",
	"openstreetmap", "mapbox-tiles", "criteo-adserver", "appnexus-bid", "scorecardresearch", "quantserve", "hotjar-insights", "intercom-widgets", "freshdesk-support",
	"monitoring-service", "payment-gateway", "my-company-internal", "sparkassen-netz", "versicherungskammer", "stadtwerke-muenchen", "landesverwaltung", "krankenhaus-mitte",
	"berlin2024", "server12345", "shop4all-online", "backup-node7", "photos2go-world",
}

func random(r *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

func TestModel(t *testing.T) {
	m := newModel()
	wrong := 0
	for _, w := range chosen {
		if m.drawn(w) {
			wrong++
			t.Logf("%s looks drawn: %.2f", w, m.surprise(w))
		}
	}
	if wrong*20 > len(chosen) {
		t.Errorf("%d of %d chosen names look drawn at random; want at most 5 %%", wrong, len(chosen))
	}
	r := rand.New(rand.NewPCG(3, 4))
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for _, c := range []struct {
		alphabet string
		length   int
		share    float64
	}{{letters, 12, 0.85}, {letters, 16, 0.95}, {letters, 24, 0.98}, {letters + "0123456789", 14, 0.85}, {letters, 9, 0.6}} {
		hit := 0
		for i := 0; i < 1000; i++ {
			if m.drawn(random(r, c.alphabet, c.length)) {
				hit++
			}
		}
		t.Logf("%d letters of %d: %.1f %% look drawn", c.length, len(c.alphabet), float64(hit)/10)
		if float64(hit) < 1000*c.share {
			t.Errorf("%d letters drawn from %d: only %d of 1000 look so, want %.0f %%", c.length, len(c.alphabet), hit, 100*c.share)
		}
	}
}
