start
  %{~ for x in xs }
    - ${x}
  %{~ endfor }
%{ for x in xs ~}

    [${x}]
%{ endfor ~}
end $${literal} %%{literal}
