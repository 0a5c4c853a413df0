package routes

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"istio.io/istio/istioctl/pkg/cli"
	istioctl "istio.io/istio/istioctl/pkg/validate"
)

// `istioctl validate -f` accepts each file.
func TestIstioctlValidateTakesWhatIsWritten(t *testing.T) {
	files, err := filepath.Glob("testdata/*/written.yaml")
	if err != nil || len(files) != len(cases) {
		t.Fatalf("%v (%v)", files, err)
	}
	for _, file := range files {
		istioctlTakes(t, file)
	}
}

func istioctlTakes(t *testing.T, file string) {
	t.Helper()
	var out bytes.Buffer
	command := istioctl.NewValidateCommand(cli.NewFakeContext(nil))
	command.SetArgs([]string{"-f", file})
	command.SetOut(&out)
	command.SetErr(&out)
	if err := command.Execute(); err != nil || !strings.Contains(out.String(), "is valid") {
		t.Errorf("%s: %v %s", file, err, out.String())
	}
}
