package routes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
)

// The result of a case: the clusters that requests are sent to, by request and proxy.
type expected struct {
	// Of the gateway's routes or filter chains: the clusters that each host leads to.
	gateway map[string][]string
	// The same of a proxy in the mesh.
	mesh map[string][]string
}

var meshes = map[string]expected{
	"readme": {
		gateway: map[string][]string{"webapp.example.com": {"outbound|80||webapp.default.svc.cluster.local"}},
	},
	"complex": {
		gateway: map[string][]string{
			"shop.company.com": {
				"outbound|443|eu-central|ecommerce-frontend.ecommerce.svc.cluster.local",
				"outbound|443|us-east|ecommerce-frontend.ecommerce.svc.cluster.local",
				"outbound|443|us-west|ecommerce-frontend.ecommerce.svc.cluster.local",
				"outbound|50051|eu-central|ecommerce-frontend.ecommerce.svc.cluster.local",
				"outbound|50051|us-east|ecommerce-frontend.ecommerce.svc.cluster.local",
				"outbound|50051|us-west|ecommerce-frontend.ecommerce.svc.cluster.local",
			},
		},
	},
	"payments": {
		gateway: map[string][]string{"payments.company.com": {"outbound|443||payment-processor.payments.svc.cluster.local"}},
	},
	"mesh-only": {
		mesh: map[string][]string{
			"orders.shop.svc.cluster.local": {
				"outbound|80|canary|orders.shop.svc.cluster.local",
				"outbound|80|stable|orders.shop.svc.cluster.local",
				"outbound|8443|canary|orders.shop.svc.cluster.local",
				"outbound|8443|stable|orders.shop.svc.cluster.local",
				"outbound|9090|canary|orders.shop.svc.cluster.local",
				"outbound|9090|stable|orders.shop.svc.cluster.local",
			},
		},
	},
}

// What is written for MeshServices is valid, as istiod's webhook and `istioctl validate` judge it, and leads where it should.
func TestMeshServicesLeadWhereTheyShould(t *testing.T) {
	folders, err := filepath.Glob("mesh/*")
	if err != nil || len(folders) != len(meshes) {
		t.Fatalf("%d cases for %v (%v)", len(meshes), folders, err)
	}
	for name, expected := range meshes {
		t.Run(name, func(t *testing.T) {
			configs, services := written(t, name)
			for _, object := range configs {
				schema, found := collections.Pilot.FindByGroupVersionAliasesKind(object.GroupVersionKind)
				if !found {
					t.Fatalf("%v", object.GroupVersionKind)
				}
				if _, err := schema.ValidateConfig(object); err != nil {
					t.Errorf("%s %s/%s: %v", object.GroupVersionKind.Kind, object.Namespace, object.Name, err)
				}
			}
			istioctlTakes(t, filepath.Join("mesh", name, "written.yaml"))
			server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{KubernetesObjectString: services, Configs: configs})
			gateway := server.SetupProxy(&model.Proxy{
				Type:            model.Router,
				ConfigNamespace: "istio-system",
				Labels:          map[string]string{"istio": "ingressgateway"},
				Metadata: &model.NodeMetadata{
					Namespace: "istio-system",
					Labels:    map[string]string{"istio": "ingressgateway"},
				},
				IPAddresses: []string{"10.3.3.3"},
			})
			for host, clusters := range expected.gateway {
				compare(t, server, gateway, host, clusters)
			}
			sidecar := server.SetupProxy(&model.Proxy{ConfigNamespace: "other"})
			for host, clusters := range expected.mesh {
				compare(t, server, sidecar, host, clusters)
			}
		})
	}
}

// The objects of Istio, those that are given and those that are written; and the Services.
func written(t *testing.T, name string) (configs []config.Config, services string) {
	var istio, core []string
	for _, file := range []string{"given.yaml", "written.yaml"} {
		text, err := os.ReadFile(filepath.Join("mesh", name, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range strings.Split(string(text), "---\n") {
			switch {
			case strings.Contains(document, "apiVersion: v1\nkind: Service\n"):
				core = append(core, withAddress(document))
			case strings.Contains(document, ".istio.io/v1\n"):
				istio = append(istio, document)
			}
		}
	}
	return parsed(t, istio), strings.Join(core, "---\n")
}

// As the API server gives it to a Service that is created.
func withAddress(service string) string {
	if strings.Contains(service, "clusterIP:") {
		return service
	}
	return strings.Replace(service, "\nspec:\n", "\nspec:\n  clusterIP: 10.0.0.7\n", 1)
}

// Whether a proxy sends a host's requests, by its routes and by the filter chains that pass TLS through, to these clusters, which exist.
func compare(t *testing.T, server *xds.FakeDiscoveryServer, proxy *model.Proxy, host string, wanted []string) {
	t.Helper()
	got := led(server, proxy, host)
	if !slices.Equal(got, wanted) {
		t.Errorf("%s leads to %v", host, got)
	}
	clusters := server.Clusters(proxy)
	for _, name := range got {
		if !slices.ContainsFunc(clusters, func(cluster *cluster.Cluster) bool { return cluster.Name == name }) {
			t.Errorf("%s leads to %q, which does not exist", host, name)
		}
	}
}

func led(server *xds.FakeDiscoveryServer, proxy *model.Proxy, host string) []string {
	found := map[string]bool{}
	for _, configuration := range server.Routes(proxy) {
		for _, virtual := range configuration.VirtualHosts {
			if !slices.Contains(virtual.Domains, host) {
				continue
			}
			for _, route := range virtual.Routes {
				action := route.GetRoute()
				if weighted := action.GetWeightedClusters(); weighted != nil {
					for _, one := range weighted.Clusters {
						found[one.Name] = true
					}
				} else {
					found[action.GetCluster()] = true
				}
			}
		}
	}
	for _, one := range server.Listeners(proxy) {
		for _, chain := range one.FilterChains {
			if slices.Contains(chain.GetFilterChainMatch().GetServerNames(), host) {
				for _, name := range passed(chain) {
					found[name] = true
				}
			}
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The clusters of the proxies of TCP of a filter chain.
func passed(chain *listener.FilterChain) (names []string) {
	for _, filter := range chain.Filters {
		proxy := &tcp.TcpProxy{}
		if !filter.GetTypedConfig().MessageIs(proxy) || filter.GetTypedConfig().UnmarshalTo(proxy) != nil {
			continue
		}
		for _, one := range proxy.GetWeightedClusters().GetClusters() {
			names = append(names, one.Name)
		}
		if proxy.GetCluster() != "" {
			names = append(names, proxy.GetCluster())
		}
	}
	return names
}
