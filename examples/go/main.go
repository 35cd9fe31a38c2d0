// An example client of Rialto. See README.md, or run `go run . -help`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
	"google.golang.org/grpc"

	"rialto-example/userpb"
)

//go:generate ./generate

const help = `usage: rialto-example [OPTION...] COMMAND

  --server HOST:PORT    default: localhost:50051
  --ca FILE             use TLS, and trust the authorities in this PEM file
  --cert FILE           present this client certificate; requires --key
  --key FILE            the private key of the certificate
  --login NAME          log in as this user

  unary                 create, get, update and delete a user
  get ID                get one user
  list                  list all users
  bulk NAME...          create many users in one call
  chat                  send the lines of standard input to a room, and print what arrives;
                        resumes after a lost connection
    --user NAME         the author of the messages; not needed with a token
    --room ROOM         default: lobby
    --history N         start with the last N messages of the room
    --expect N          exit only after N messages have arrived

Secrets come from the environment, because other users can see a program's arguments:

  RIALTO_PASSWORD       the password for --login; if not set, the program prompts for it
  RIALTO_TOKEN          the token for every call, without --login
`

var errUsage = errors.New("usage")

func main() {
	err := run(context.Background(), os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(help)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%v\n\n%s", err, help)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, describe(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	flags := newFlags("rialto-example")
	server := flags.String("server", "localhost:50051", "")
	ca := flags.String("ca", "", "")
	cert := flags.String("cert", "", "")
	key := flags.String("key", "", "")
	name := flags.String("login", "", "")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("%w: no command given", errUsage)
	}
	command, operands := flags.Arg(0), flags.Args()[1:]
	if (*cert != "" || *key != "") && (*ca == "" || *cert == "" || *key == "") {
		return fmt.Errorf("%w: --cert and --key need each other, and --ca", errUsage)
	}
	token := os.Getenv("RIALTO_TOKEN")
	known := *name != "" || token != "" // The server knows the caller.
	if known && *ca == "" && !isLoopback(*server) {
		return fmt.Errorf("%w: passwords and tokens would be sent to %s in the clear: use --ca", errUsage, *server)
	}

	transport, err := transport(*ca, *cert, *key)
	if err != nil {
		return err
	}
	var session *session
	var options []grpc.DialOption
	if *name != "" {
		password, err := passwordOf(*name)
		if err != nil {
			return err
		}
		session = newSession(*name, password)
		options = bearer(session.value).interceptors()
	} else if known {
		options = bearer(func() (string, error) { return token, nil }).interceptors()
	}
	connection, err := connect(*server, transport, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	if session != nil {
		session.use(connection)
		defer session.logout()
	}
	return perform(ctx, userpb.NewUserServiceClient(connection), session, known, command, operands)
}

func perform(ctx context.Context, client userpb.UserServiceClient, session *session, known bool, command string, operands []string) error {
	switch command {
	case "unary":
		return unary(ctx, client)
	case "get":
		if len(operands) != 1 {
			return fmt.Errorf("%w: get needs one id", errUsage)
		}
		return get(ctx, client, operands[0])
	case "list":
		return list(ctx, client)
	case "bulk":
		if len(operands) == 0 {
			return fmt.Errorf("%w: bulk needs names", errUsage)
		}
		return bulk(ctx, client, operands)
	case "chat":
		flags := newFlags("chat")
		room := flags.String("room", "lobby", "")
		user := flags.String("user", "", "")
		history := flags.Uint("history", 0, "")
		expect := flags.Int("expect", 0, "")
		if err := parse(flags, operands); err != nil {
			return err
		}
		if *user == "" && !known {
			return fmt.Errorf("%w: chat needs --user or --login", errUsage)
		}
		return chat(ctx, client, *room, *user, uint32(*history), *expect, session)
	default:
		return fmt.Errorf("%w: unknown command %s", errUsage, command)
	}
}

// passwordOf returns the password from the environment, or prompts for it without echo.
func passwordOf(name string) (string, error) {
	if password, ok := os.LookupEnv("RIALTO_PASSWORD"); ok {
		return password, nil
	}
	input := int(os.Stdin.Fd())
	if !term.IsTerminal(input) {
		return "", fmt.Errorf("%w: --login needs RIALTO_PASSWORD, or a terminal to prompt on", errUsage)
	}
	fmt.Fprintf(os.Stderr, "Password of %s: ", name)
	password, err := term.ReadPassword(input)
	fmt.Fprintln(os.Stderr)
	return string(password), err
}

// newFlags returns a flag set that prints nothing; main prints errors and help.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	return flags
}

func parse(flags *flag.FlagSet, arguments []string) error {
	err := flags.Parse(arguments)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return err
}
