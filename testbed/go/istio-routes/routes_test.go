// Package routes checks outrigger's output with Istio's own code: its validation, and the routes and clusters that pilot computes for
// a client's proxy. `make test-istio` runs it.
package routes

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/validation"
)

// A request of a client, and its expected cluster; empty: the proxy answers itself.
type request struct {
	client  string // its namespace
	host    string
	port    string
	headers map[string]string
	path    string
	cluster string
}

func developer(name string) map[string]string { return map[string]string{"x-developer": name} }

func to(port, service, namespace string) string {
	return "outbound|" + port + "||" + service + "." + namespace + ".svc.cluster.local"
}

var cases = map[string][]request{
	// The three calls of virtualservice-operator's document, and one for a developer without a copy.
	"readme": {
		{"default", "my-app", "80", nil, "/api/health", to("80", "my-app", "default")},
		{"default", "my-app", "80", developer("dev-alice"), "/api/health", to("80", "my-app", "dev-alice")},
		{"default", "my-app", "80", developer("staging"), "/api/health", to("80", "my-app", "staging")},
		{"default", "my-app", "80", developer("dev-bob"), "/api/health", to("80", "my-app", "default")},
		{"staging", "my-app.default", "80", developer("dev-alice"), "/", to("80", "my-app", "dev-alice")},
		// By the short name, through the placeholder.
		{"dev-bob", "my-app", "80", nil, "/", to("80", "my-app", "default")},
		{"dev-bob", "my-app", "80", developer("dev-alice"), "/", to("80", "my-app", "dev-alice")},
	},
	"ports": {
		{"default", "my-app", "80", developer("dev-alice"), "/", to("80", "my-app", "dev-alice")},
		{"default", "my-app", "9000", developer("dev-alice"), "/", to("9001", "my-app", "dev-alice")},
		{"default", "my-app", "80", developer("dev-bob"), "/", to("80", "my-app", "default")},
		{"default", "my-app", "9000", nil, "/", to("9000", "my-app", "default")},
		{"default", "headless", "80", developer("dev-alice"), "/", to("80", "headless", "dev-alice")},
	},
	"additions": {
		{"default", "my-app", "80", developer("dev-alice-2"), "/", to("80", "my-app", "dev-alice")},
		{"default", "my-app", "80", map[string]string{"x-env": "dev"}, "/", to("80", "my-app", "dev")},
		{"default", "my-app", "80", map[string]string{"baggage": "a=b, x-developer=dev-alice;p=1"}, "/", to("80", "my-app", "dev-alice")},
		{"default", "my-app", "80", map[string]string{"baggage": "my-x-developer=dev"}, "/", to("80", "my-app", "default")},
	},
	// The template in virtualservice-operator's document, which names a Service in two ways.
	"advanced": {
		{"default", "my-app", "80", developer("dev-alice"), "/", to("80", "my-app", "dev-alice")},
		{"default", "my-app.default.svc.cluster.local", "80", developer("dev-alice"), "/", to("80", "my-app", "dev-alice")},
		{"default", "my-app", "80", nil, "/", to("80", "my-app", "default")},
	},
	"template": {
		{"default", "my-app", "80", developer("dev-alice"), "/", to("80", "my-app", "dev-alice")},
		{"default", "my-app", "80", nil, "/", to("80", "my-app", "default")},
		{"default", "my-app", "80", developer("dev-alice"), "/health", ""},
	},
}

func TestRequestsReachTheRightCluster(t *testing.T) {
	folders, err := filepath.Glob("testdata/*")
	if err != nil || len(folders) != len(cases) {
		t.Fatalf("%d cases for %v (%v)", len(cases), folders, err)
	}
	for name, requests := range cases {
		t.Run(name, func(t *testing.T) {
			virtualServices, services := objects(t, name)
			validate(t, virtualServices)
			server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
				KubernetesObjectString: services,
				Configs:                virtualServices,
			})
			for _, request := range requests {
				proxy := server.SetupProxy(&model.Proxy{ConfigNamespace: request.client})
				got := send(t, server.Routes(proxy), request)
				if got != request.cluster {
					t.Errorf("%+v is sent to %q", request, got)
				}
				isIt := func(cluster *cluster.Cluster) bool { return cluster.Name == got }
				if got != "" && !slices.ContainsFunc(server.Clusters(proxy), isIt) {
					t.Errorf("%+v is sent to %q, which does not exist", request, got)
				}
			}
		})
	}
}

// Why headless copies get no route: their cluster forwards to the address that the client resolved.
func TestHeadlessCopiesCannotBeRoutedTo(t *testing.T) {
	_, services := objects(t, "ports")
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{KubernetesObjectString: services})
	clusters := server.Clusters(server.SetupProxy(&model.Proxy{ConfigNamespace: "default"}))
	place := slices.IndexFunc(clusters, func(found *cluster.Cluster) bool {
		return found.Name == to("80", "my-app", "dev-bob")
	})
	if place < 0 || clusters[place].GetType() != cluster.Cluster_ORIGINAL_DST {
		t.Errorf("%d: not a cluster of type ORIGINAL_DST", place)
	}
}

// The output, with the VirtualServices separate, and the Services including placeholders.
func objects(t *testing.T, name string) (virtualServices []config.Config, services string) {
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join("testdata", name, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	all := []string{read("services.yaml")}
	var routed []string
	for _, document := range strings.Split(read("written.yaml"), "---\n") {
		if strings.Contains(document, "kind: VirtualService\n") {
			routed = append(routed, document)
		} else {
			all = append(all, document)
		}
	}
	return parsed(t, routed), strings.Join(all, "---\n")
}

// Istio's objects, as istiod reads them from a cluster.
func parsed(t *testing.T, documents []string) []config.Config {
	t.Helper()
	objects, _, err := crd.ParseInputs(strings.Join(documents, "---\n"))
	if err != nil || len(objects) == 0 {
		t.Fatalf("%d objects: %v", len(objects), err)
	}
	for index := range objects {
		objects[index].Domain = "cluster.local"
	}
	return objects
}

// Like istiod's webhook and `istioctl validate`.
func validate(t *testing.T, virtualServices []config.Config) {
	for _, object := range virtualServices {
		if object.GroupVersionKind != gvk.VirtualService {
			t.Fatalf("%v", object.GroupVersionKind)
		}
		warnings, err := validation.ValidateVirtualService(object)
		if err != nil || warnings != nil {
			t.Errorf("%s/%s: %v %v", object.Namespace, object.Name, warnings, err)
		}
	}
}

// The cluster of the first route that matches.
func send(t *testing.T, configurations []*route.RouteConfiguration, request request) string {
	for _, host := range called(configurations, request) {
		for _, candidate := range host.Routes {
			if matches(t, candidate.Match, request) {
				return candidate.GetRoute().GetCluster()
			}
		}
	}
	t.Errorf("no route for %+v", request)
	return "none"
}

// The virtual host of a request: for an HTTP port, a host in the port's configuration; for a detected protocol, that of the
// Service, by its address: a placeholder has the address of its Service.
func called(configurations []*route.RouteConfiguration, request request) (hosts []*route.VirtualHost) {
	service, _, _ := strings.Cut(request.host, ".")
	own := service + "." + request.client
	if strings.Contains(request.host, ".") {
		own = strings.TrimSuffix(request.host, ".svc.cluster.local")
	}
	for _, name := range []string{own, service + ".default"} {
		for _, configuration := range configurations {
			if configuration.Name == name+".svc.cluster.local:"+request.port {
				return configuration.VirtualHosts
			}
		}
	}
	for _, configuration := range configurations {
		for _, host := range configuration.VirtualHosts {
			if configuration.Name == request.port && slices.Contains(host.Domains, request.host) {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

func matches(t *testing.T, match *route.RouteMatch, request request) bool {
	if prefix := match.GetPrefix(); prefix != "" && !strings.HasPrefix(request.path, prefix) {
		return false
	}
	if prefix := match.GetPathSeparatedPrefix(); prefix != "" && request.path != prefix {
		return false
	}
	headers := http.Header{}
	for name, value := range request.headers {
		headers.Set(name, value)
	}
	for _, header := range match.Headers {
		if !text(t, header.GetStringMatch(), headers.Get(header.Name)) {
			return false
		}
	}
	return true
}

func text(t *testing.T, wanted *matcher.StringMatcher, value string) bool {
	switch pattern := wanted.GetMatchPattern().(type) {
	case *matcher.StringMatcher_Exact:
		return value == pattern.Exact
	case *matcher.StringMatcher_Prefix:
		return strings.HasPrefix(value, pattern.Prefix)
	case *matcher.StringMatcher_SafeRegex:
		return regexp.MustCompile("^(?:" + pattern.SafeRegex.Regex + ")$").MatchString(value)
	default:
		t.Fatalf("a match of another kind: %v", wanted)
		return false
	}
}
