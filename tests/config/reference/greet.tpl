Hello ${name}!
%{ for ip in ips ~}
server ${ip}
%{ endfor ~}
%{ if length(ips) > 1 }many%{ else }few%{ endif }
