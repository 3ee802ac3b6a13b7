"""`marchproxy.ModuleService`: what MarchProxy's load balancer asks of this instance."""
