# Stands for nixpkgs in tests: modules, a few options, and a system that builds in a second.
{
  outputs = { self }:
    let
      isModule = value: builtins.isAttrs value && !(value ? type && value.type == "derivation");
      merge = a: b:
        a // builtins.mapAttrs (name: new:
          if !(a ? ${name}) then new
          else if isModule a.${name} && isModule new then merge a.${name} new
          else if builtins.isList a.${name} && builtins.isList new then a.${name} ++ new
          else new) b;
      lib = rec {
        mkOption = option: option // { _type = "option"; };
        mkDefault = value: value;
        mkIf = condition: value: if condition then value else { };
        mkEnableOption = description: mkOption { default = false; inherit description; };
        types = builtins.listToAttrs (map (name: { inherit name; value = name; })
          [ "str" "bool" "port" "path" "package" "attrs" "lines" ])
          // { nullOr = type: type; listOf = type: type; attrsOf = type: type; submodule = type: type; };
        getName = package: package.pname or package.name;
        genAttrs = names: make:
          builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
        optional = condition: value: if condition then [ value ] else [ ];
        inherit nixosSystem;
      };
      makeProgram = system: name: script: derivation {
        inherit name system script;
        builder = "/bin/sh";
        passAsFile = [ "script" ];
        args = [ "-euc" ''
          PATH=/usr/bin:/bin
          mkdir -p $out/bin
          cp $scriptPath $out/bin/${name}
          chmod 755 $out/bin/${name}
        '' ];
      };
      packages = system: {
        writeShellScriptBin = name: text: makeProgram system name "#!/bin/sh\n${text}\n";
      } // lib.genAttrs
        [ "bashInteractive" "coreutils" "curl" "findutils" "git" "gnugrep" "gnused" "jq" "ripgrep"
          "diffutils" "less" "nixpkgs-fmt" ]
        (name: makeProgram system "stub-${name}" "#!/bin/sh\necho ${name}\n");
      nixosSystem = { system, modules, specialArgs ? { } }:
        let
          pkgs = packages system;
          collect = value:
            let
              loaded = if builtins.isPath value || builtins.isString value
                then import value else value;
              known = { inherit config lib pkgs; modulesPath = ./.; } // specialArgs;
              # One by one, as in nixpkgs: the arguments may depend on the modules themselves.
              args = builtins.mapAttrs (name: _: known.${name} or config._module.args.${name})
                (builtins.functionArgs loaded);
              module = if builtins.isFunction loaded then loaded (known // args) else loaded;
            in [ module ] ++ builtins.concatMap collect (module.imports or [ ]);
          strip = module: module.config or (removeAttrs module [ "imports" "options" ]);
          raw = builtins.foldl' (all: module: merge all (strip module)) { }
            (builtins.concatMap collect modules);
          config = merge { _module.args = { }; environment = { systemPackages = [ ]; etc = { }; }; } raw // {
            system = { build.toplevel = toplevel; };
          };
          toplevel = derivation {
            name = "nixos-system-${config.networking.hostName}";
            inherit system;
            builder = "/bin/sh";
            packages = config.environment.systemPackages;
            identity = config.environment.etc."hyperhive/agent.json".text or "";
            args = [ "-euc" ''
              PATH=/usr/bin:/bin
              mkdir -p $out/sw/bin $out/etc
              for package in $packages; do ln -s $package/bin/* $out/sw/bin/; done
              printf %s "$identity" > $out/etc/agent.json
            '' ];
          };
        in { inherit config; };
    in {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packages;
    };
}
