// Package analyze compares `outrigger check` with Istio's own code: its CustomResourceDefinitions, the webhook of istiod, and the
// analyzers of istioctl. `make test-istio-analyze` runs it.
package analyze

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	schemas "istio.io/istio/pkg/config/crd"
	"istio.io/istio/pkg/config/resource"
	"istio.io/istio/pkg/config/schema/collections"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The labels of each object tell who rejects it.
func TestVerdictsAreThoseOfIstio(t *testing.T) {
	module, err := exec.Command("go", "list", "-m", "-mod=readonly", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		t.Fatal(err)
	}
	crds := filepath.Join(strings.TrimSpace(string(module)), "manifests/charts/base/files/crd-all.gen.yaml")
	validator, err := schemas.NewValidatorFromFiles(crds)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/verdicts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range strings.Split(string(text), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		said := object.GetLabels()
		byCrd, byIstiod := "taken", "taken"
		refused := validator.ValidateCustomResource(object.DeepCopy())
		if refused != nil {
			byCrd = "refused"
		}
		warning, err := istiod(document, object)
		if err != nil {
			byIstiod = "refused"
		} else if warning != nil {
			byIstiod = "warned"
		}
		if said["crd"] != byCrd || said["istiod"] != byIstiod {
			t.Errorf("%s %s: %v, not %s %s: %v, %v, %v", object.GetKind(), object.GetName(), said, byCrd, byIstiod, refused, err, warning)
		}
	}
}

// Returns the webhook's verdict on an object.
func istiod(document string, object *unstructured.Unstructured) (warning, err error) {
	var kind crd.IstioKind
	if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
		return nil, err
	}
	version := object.GroupVersionKind()
	schema, found := collections.All.FindByGroupVersionAliasesKind(config.GroupVersionKind(version))
	if !found {
		return nil, fmt.Errorf("%v is not known", version)
	}
	converted, err := crd.ConvertObject(schema, &kind, "cluster.local")
	if err != nil {
		return nil, err
	}
	return schema.ValidateConfig(*converted)
}

// The first line of each file has the expected findings of the analyzers.
func TestCodesAreThoseOfTheAnalyzers(t *testing.T) {
	files, err := filepath.Glob("testdata/meshes/*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "\n")
		analyzer := local.NewSourceAnalyzer(analyzers.AllCombined(), resource.Namespace(""), "istio-system", nil)
		source := local.ReaderSource{Name: file, Reader: bytes.NewReader(text)}
		// Only tests can pass Services and Pods.
		if err := analyzer.AddTestReaderKubeSource([]local.ReaderSource{source}); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := analyzer.AddDefaultResources(); err != nil {
			t.Fatal(err)
		}
		end := make(chan struct{})
		found, err := analyzer.Analyze(end)
		close(end)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var codes []string
		for _, message := range found.Messages {
			codes = append(codes, message.Type.Code())
		}
		slices.Sort(codes)
		got := strings.Join(slices.Compact(codes), ", ")
		if got == "" {
			got = "nothing"
		}
		if head != "# "+got {
			t.Errorf("%s says %q, the analyzers %q: %v", file, head, got, found.Messages)
		}
	}
}

// One in ten services has a route to an undefined subset.
const service = `apiVersion: v1
kind: Service
metadata: {name: svc-N, namespace: team-G}
spec: {selector: {app: svc-N}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: svc-N, namespace: team-G}
spec:
  selector: {matchLabels: {app: svc-N}}
  template:
    metadata: {labels: {app: svc-N, version: v1}}
    spec: {containers: [{name: app, image: "app:1"}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: svc-N, namespace: team-G}
spec: {host: svc-N.team-G.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc-N, namespace: team-G}
spec:
  hosts: [svc-N.team-G.svc.cluster.local]
  http:
  - match: [{uri: {prefix: /api}}]
    route: [{destination: {host: svc-N.team-G.svc.cluster.local, subset: vV, port: {number: 80}}}]
  - route: [{destination: {host: svc-N.team-G.svc.cluster.local, port: {number: 80}}}]
---
`

// The same 10,000 objects, read and judged by both: outrigger takes a fifth of the CPU at most, though it also looks at the Services and
// Deployments, which istioctl skips in files.
func TestOutriggerTakesAFifthOfTheTime(t *testing.T) {
	outrigger, istioctl := os.Getenv("OUTRIGGER"), os.Getenv("ISTIOCTL")
	if outrigger == "" || istioctl == "" {
		t.Fatal("OUTRIGGER and ISTIOCTL name the programs to compare")
	}
	folder := t.TempDir()
	for number := range 2500 {
		version := "1"
		if number%10 == 0 {
			version = "9"
		}
		names := strings.NewReplacer("svc-N", fmt.Sprintf("svc-%d", number), "team-G", fmt.Sprintf("team-%d", number/10), "vV", "v"+version)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.yaml", number)), []byte(names.Replace(service)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) (time.Duration, string) {
		command := exec.Command(name, args...)
		output, err := command.CombinedOutput()
		if command.ProcessState == nil {
			t.Fatalf("%s: %v", name, err)
		}
		return command.ProcessState.UserTime() + command.ProcessState.SystemTime(), string(output)
	}
	theirs, output := run(istioctl, "analyze", "--all-namespaces", "--use-kube=false", folder)
	if count := strings.Count(output, "IST0101"); count != 250 {
		t.Fatalf("istioctl finds %d subsets that are not defined: %.2000s", count, output)
	}
	ours, output := run(outrigger, "check", folder)
	if count := strings.Count(output, "IST0101"); count != 250 {
		t.Fatalf("outrigger finds %d subsets that are not defined: %.2000s", count, output)
	}
	t.Logf("CPU: istioctl %v, outrigger %v: %.1f times as much", theirs, ours, float64(theirs)/float64(ours))
	if theirs < 5*ours {
		t.Errorf("istioctl takes %v, outrigger %v", theirs, ours)
	}
}
